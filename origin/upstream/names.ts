/**
 * Whose image a repository's name says it is. `docker.io/library/app` belongs to `docker.io`. A name
 * has no colon, so the port of a registry follows an underscore, which no host has:
 * `registry.test:5000` becomes `registry.test_5000`.
 */
import { isRegistryHost } from '#oci';

/** The first part of a repository's name that stands for this host. */
export function hostToComponent(host: string): string {
  return host.toLowerCase().replace(/:(\d+)$/, '_$1');
}

/**
 * The host that a first part of a name stands for; undefined when it is no host. `team_1` could be a
 * host without a domain and its port, and is a team.
 */
export function componentToHost(component: string): string | undefined {
  const [, host = component, port] = /^(.+)_(\d{1,5})$/.exec(component) ?? [];
  if (!isRegistryHost(host)) return undefined;
  return port === undefined ? host : `${host}:${port}`;
}
