// The SDKs written in JavaScript, unmodified, each following one flag: sdks.mjs BASE. A line of JSON is written whenever an SDK's answer changes.

import { createRequire } from "node:module";
import { EventSource } from "eventsource";
import { GrowthBook, setPolyfills } from "@growthbook/growthbook";
import { OpenFeature as Server } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature as Web } from "@openfeature/web-sdk";
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { Unleash } from "unleash-client";

const require = createRequire(import.meta.url);
const { UnleashClient } = require("unleash-proxy-client");

const [base] = process.argv.slice(2);
const unleashUrl = `${base}/compat/unleash/api`;
const user = "user-7";
const EVERY_MS = 100;

/** Writes what an SDK answers whenever that changes. */
function follow(sdk, answer) {
  let last;
  const look = async () => {
    const text = JSON.stringify(await answer());
    if (text !== last) {
      last = text;
      console.log(JSON.stringify({ sdk, answer: JSON.parse(text) }));
    }
  };
  setInterval(() => look().catch((error) => console.log(JSON.stringify({ sdk, error: String(error) }))), EVERY_MS);
}

function unleash(name, options) {
  const client = new Unleash({
    url: unleashUrl,
    appName: name,
    instanceId: `${name}-1`,
    customHeaders: { Authorization: "*:production.secret" },
    refreshInterval: 500,
    metricsInterval: 500,
    metricsJitter: 0,
    disableAutoStart: false,
    backupPath: process.env.FLAG_BACKUP,
    ...options,
  });
  client.on("error", (error) => console.log(JSON.stringify({ sdk: name, error: String(error) })));
  const context = { userId: user, properties: { plan: "pro" } };
  follow(name, () => {
    const variant = client.getVariant("colour", context);
    return { demo: client.isEnabled("demo", context), paid: client.isEnabled("paid", context), colour: [variant.name, variant.payload?.value] };
  });
}

unleash("unleash-client", {});
unleash("unleash-client-streaming", { experimentalMode: { type: "streaming" }, disableMetrics: true });
unleash("unleash-client-delta", { experimentalMode: { type: "polling", format: "delta" }, disableMetrics: true });

const proxy = new UnleashClient({
  url: `${unleashUrl}/frontend`,
  clientKey: "*:production.frontend",
  appName: "unleash-proxy-client",
  refreshInterval: 1,
  metricsInterval: 1,
  metricsIntervalInitial: 1,
  context: { userId: user, properties: { plan: "pro" } },
});
proxy.on("error", (error) => console.log(JSON.stringify({ sdk: "unleash-proxy-client", error: String(error) })));
proxy.start();
follow("unleash-proxy-client", () => {
  const variant = proxy.getVariant("colour");
  return { demo: proxy.isEnabled("demo"), paid: proxy.isEnabled("paid"), colour: [variant.name, variant.payload?.value] };
});

await Server.setProviderAndWait(new OFREPProvider({ baseUrl: `${base}/compat/ofrep` }));
const server = Server.getClient();
const context = { targetingKey: user, plan: "pro" };
follow("ofrep-provider", async () => {
  const colour = await server.getStringDetails("colour", "none", context);
  const limits = await server.getObjectValue("limits", {}, context);
  const missing = await server.getBooleanDetails("nope", true, context);
  return { demo: await server.getBooleanValue("demo", false, context), colour: [colour.variant, colour.value], limits, missing: [missing.value, missing.errorCode] };
});

await Web.setContext(context);
await Web.setProviderAndWait(new OFREPWebProvider({ baseUrl: `${base}/compat/ofrep`, pollInterval: 500, cacheMode: "disabled" }));
const web = Web.getClient();
follow("ofrep-web-provider", () => {
  const colour = web.getStringDetails("colour", "none");
  return { demo: web.getBooleanValue("demo", false), colour: [colour.variant, colour.value], limits: web.getObjectValue("limits", {}) };
});

/** GrowthBook's SDK with one person's attributes: what it answers, and what it last reported of the experiment. */
async function growthbook(name, plan, options, init, refresh) {
  let tracked;
  const client = new GrowthBook({
    apiHost: `${base}/compat/growthbook`,
    // One each: of a key, instances share what they are sent.
    clientKey: name,
    attributes: { id: user, plan },
    trackingCallback: (experiment, result) => {
      tracked = [experiment.key, result.variationId, result.value];
    },
    ...options,
  });
  await client.init(init);
  follow(name, async () => {
    await refresh?.(client);
    const answer = { demo: client.isOn("demo"), price: client.getFeatureValue("price", 0), button: client.getFeatureValue("button", "") };
    return { ...answer, tracked, sees_rules: JSON.stringify(client.getFeatures()).includes("condition") };
  });
}

setPolyfills({ EventSource });
await growthbook("growthbook-streaming", "pro", {}, { streaming: true, timeout: 5000 });
const anew = (client) => client.refreshFeatures({ skipCache: true, timeout: 5000 });
await growthbook("growthbook-remote", "pro", { remoteEval: true }, { timeout: 5000 }, anew);
await growthbook("growthbook-remote-free", "free", { remoteEval: true }, { timeout: 5000 }, anew);
console.log(JSON.stringify({ sdk: "all", answer: "started" }));
