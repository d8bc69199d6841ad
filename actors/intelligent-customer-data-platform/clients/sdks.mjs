// The SDKs for Node.js: `node sdks.mjs SDK URL`. Each identifies a person, tracks an event, groups and aliases, and ends when all is sent.
import { createRequire } from 'node:module'

const [sdk, url] = process.argv.slice(2)
const require = createRequire(`${process.env.CDP_SDKS}/`)

async function segment () {
  const { Analytics } = require('@segment/analytics-node')
  // It drops a path from `host`, so the whole path is given.
  const analytics = new Analytics({ writeKey: 'writeKey', host: url, path: '/compat/segment/v1/batch', flushInterval: 100 })
  const failed = []
  analytics.on('error', error => failed.push(String(error.reason ?? error.code)))
  analytics.track({ anonymousId: 'a-segment-node', event: 'Visited' })
  analytics.identify({ userId: 'u-segment-node', anonymousId: 'a-segment-node', traits: { email: 'segment-node@example.com', plan: 'pro' } })
  analytics.track({ userId: 'u-segment-node', event: 'Order Completed', properties: { revenue: 12.5 } })
  analytics.page({ userId: 'u-segment-node', name: 'Home', properties: { url: 'https://shop.example/' } })
  analytics.screen({ userId: 'u-segment-node', name: 'Start' })
  analytics.group({ userId: 'u-segment-node', groupId: 'g1', traits: { name: 'Acme' } })
  analytics.alias({ userId: 'u-segment-node', previousId: 'old-segment-node' })
  await analytics.closeAndFlush()
  if (failed.length) throw new Error(failed.join(', '))
}

async function rudder () {
  const module = require('@rudderstack/rudder-sdk-node')
  const Analytics = module.default ?? module
  const analytics = new Analytics('writeKey', { dataPlaneUrl: `${url}/compat/segment`, flushInterval: 100 })
  const done = (resolve, reject) => error => error ? reject(error) : resolve()
  const send = (name, call) => new Promise((resolve, reject) => analytics[name](call, done(resolve, reject)))
  const calls = [
    send('track', { anonymousId: 'a-rudder-node', event: 'Visited' }),
    send('identify', { userId: 'u-rudder-node', anonymousId: 'a-rudder-node', traits: { email: 'rudder-node@example.com', plan: 'pro' } }),
    send('track', { userId: 'u-rudder-node', event: 'Order Completed', properties: { revenue: 12.5 } }),
    send('page', { userId: 'u-rudder-node', name: 'Home' }),
    send('screen', { userId: 'u-rudder-node', name: 'Start' }),
    send('group', { userId: 'u-rudder-node', groupId: 'g1', traits: { name: 'Acme' } }),
    send('alias', { userId: 'u-rudder-node', previousId: 'old-rudder-node' })
  ]
  await new Promise(resolve => analytics.flush(resolve))
  await Promise.all(calls)
}

async function posthog () {
  const { PostHog } = require('posthog-node')
  const client = new PostHog('phc_test', { host: `${url}/compat/posthog`, flushAt: 20, flushInterval: 100 })
  const failed = []
  client.on('error', error => failed.push(String(error)))
  client.capture({ distinctId: 'u-posthog-node', event: 'Order Completed', properties: { amount: 12.5 } })
  client.identify({ distinctId: 'u-posthog-node', properties: { email: 'posthog-node@example.com', plan: 'pro' } })
  client.alias({ distinctId: 'u-posthog-node', alias: 'old-posthog-node' })
  client.groupIdentify({ groupType: 'company', groupKey: 'g1', properties: { name: 'Acme' } })
  const flags = { demo: await client.getFeatureFlag('demo', 'u-posthog-node'), colour: await client.getFeatureFlag('colour', 'u-posthog-node') }
  await client.shutdown()
  if (failed.length) throw new Error(failed.join(', '))
  console.log(JSON.stringify(flags))
}

await { segment, rudder, posthog }[sdk]()
process.exit(0)
