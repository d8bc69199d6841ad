// Answers of the npm SDKs' own evaluation, for flag-differences: a line of {"sdk", "definitions", "contexts", "flags"} in, a line of answers out.
import readline from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(process.env.FLAG_SDKS + "/");

function growthbook({ definitions, contexts, flags }) {
  const { GrowthBook } = require("@growthbook/growthbook");
  return contexts.map((given) => {
    // What has `attributes` is an SDK's context, anything else the attributes themselves.
    const isContext = given.attributes !== null && typeof given.attributes === "object" && !Array.isArray(given.attributes);
    const make = () => {
      const { forcedFeatureValues, ...context } = structuredClone(isContext ? given : { attributes: given });
      const sdk = new GrowthBook({ features: definitions.features, savedGroups: definitions.savedGroups, ...context, ...(context.stickyBucketAssignmentDocs && { stickyBucketService }) });
      if (forcedFeatureValues) sdk.setForcedFeatures(new Map(Object.entries(forcedFeatureValues)));
      return sdk;
    };
    const shared = given.stickyBucketAssignmentDocs ? null : make();
    return flags.map((flag) => {
      try {
        // An evaluation keeps its assignments in the SDK, so each has one of its own.
        const found = (shared ?? make()).evalFeature(flag);
        const key = found.experimentResult?.key ?? null;
        return [found.on, found.value ?? null, key === null ? null : String(key), found.source];
      } catch {
        return "threw";
      }
    });
  });
}

const stickyBucketService = { getAllAssignments: async () => ({}), getAssignments: async () => null, saveAssignments: async () => {}, getKey: () => "" };

function unleash({ definitions, contexts, flags }) {
  const Client = require("unleash-client/lib/client").default;
  const { defaultStrategies } = require("unleash-client/lib/strategy");
  const features = new Map(definitions.features.map((feature) => [feature.name, feature]));
  const segments = new Map(definitions.segments.map((segment) => [segment.id, segment]));
  const repository = { getToggle: (name) => features.get(name), getToggles: () => [...features.values()], getSegment: (id) => segments.get(id) };
  const client = new Client(repository, defaultStrategies);
  client.on("error", () => {});
  client.on("warn", () => {});
  return contexts.map((context) =>
    flags.map((flag) => {
      const enabled = client.isEnabled(flag, context, () => false);
      const variant = client.getVariant(flag, context);
      return [enabled, variant.name, variant.payload?.value ?? null];
    }),
  );
}

function flagd({ definitions, contexts, flags }) {
  const { FlagdCore } = require("@openfeature/flagd-core");
  const silent = { error() {}, warn() {}, info() {}, debug() {} };
  const core = new FlagdCore(undefined, silent);
  core.setConfigurations(JSON.stringify(definitions));
  return contexts.map((context) =>
    flags.map((flag) => {
      const stored = core.getFlag(flag);
      if (!stored) return [null, null, "ERROR"];
      if (stored.state === "DISABLED") return [null, null, "DISABLED"];
      const found = stored.evaluate(context, silent);
      return [found.value ?? null, found.value === undefined ? null : found.variant, found.errorCode === "PARSE_ERROR" ? "REFUSED" : found.reason];
    }),
  );
}

const log = console.error;
console.error = console.log = console.warn = () => {};
for await (const text of readline.createInterface({ input: process.stdin })) {
  try {
    const line = JSON.parse(text);
    process.stdout.write(JSON.stringify({ growthbook, unleash, flagd }[line.sdk](line)) + "\n");
  } catch (error) {
    log(error);
    process.stdout.write(JSON.stringify({ error: String(error) }) + "\n");
  }
}
