/**
 * Configuration. A program writes one table; everything else follows from it:
 *
 *     const options = defineOptions({
 *       'cache.size': withDefault(size, '50GiB', 'Most that the cache may hold'),
 *       origin: repeated(url, 'URL of the origin'),
 *     });
 *     const { values } = resolveOptions(options, { flags, environment: process.env, file: 'agent.yaml' });
 *     values['cache.size']; // bytes
 *
 * Flags beat the environment, which beats the file, which beats the defaults.
 */
export { ConfigError } from './errors.ts';
export { readConfigText, unknownKey } from './file.ts';
export {
  duration,
  host,
  hostPort,
  hostPortOrOff,
  type Kind,
  kind,
  oneOf,
  path,
  rate,
  record,
  serverUrl,
  size,
  string,
  url,
} from './kinds.ts';
export {
  type Admission,
  admissionOptions,
  besideListener,
  checkTransports,
  dataFolder,
  dataFolderHelp,
  decideAdmission,
  joinOptions,
  listenerOf,
  listenerOptions,
  logLevel,
  namesOptions,
  plainListener,
  spokenUnder,
  tlsFiles,
  transportOptions,
  wantsCluster,
} from './listeners.ts';
export { nearest } from './nearest.ts';
export {
  defineOptions,
  derived,
  environmentName,
  fallbackText,
  flagName,
  type Option,
  type OptionTable,
  optional,
  repeated,
  type Values,
  withDefault,
} from './options.ts';
export { printSettings } from './print.ts';
export { type Resolved, resolveOptions, type Setting, type Sources, unknownVariables } from './resolve.ts';
