/**
 * Credentials as registries and their clients exchange them: challenges, Basic, scopes of the docker
 * token flow, the files in which users keep their log-ins, and an HTTP client that answers challenges.
 *
 *     const http = withCredentials(await createHttpClient({}), { credentialsFor });
 *     await http.request('https://registry.test/v2/team/app/manifests/v1'); // 401, token, again
 *
 * Nothing here logs, and no error carries a secret.
 */
export {
  AuthFileError,
  type Credentials,
  type CredentialsFor,
  userAuthFiles,
  withAuthFiles,
} from './auth-file.ts';
export { formatBasic, parseBasic } from './basic.ts';
export { type Challenge, formatChallenge, parseChallenges } from './challenge.ts';
export { withCredentials } from './client.ts';
export { credentialOptions, credentialsOf, passwordIn } from './options.ts';
export { formatScope, parseScope, type Scope } from './scope.ts';
