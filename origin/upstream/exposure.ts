/**
 * What an upstream's credentials open must not become everybody's. Rules that let anonymous pull all
 * names, or names that only happen to match, do not count as a wish to publish that registry's images;
 * a pattern that begins with its name, or `public`, does.
 */
import { ConfigError } from '#config';
import type { AccessConfig } from '../access/index.ts';
import type { UpstreamConfig } from './config.ts';
import { hostToComponent } from './names.ts';

/** @throws ConfigError naming the upstream, and what to do */
export function checkExposure(
  upstreams: readonly UpstreamConfig[],
  access: Pick<AccessConfig, 'rules'> | undefined,
): void {
  const problems = upstreams
    .filter(({ credentials, isPublic }) => credentials !== undefined && !isPublic)
    .filter(({ name }) => access === undefined || opensTo(access, `${hostToComponent(name)}/`))
    .map(
      ({ name }) =>
        `upstream: ${name} has credentials, and everybody could pull what they open: ` +
        (access === undefined
          ? 'set --access-htpasswd, or public=true for this upstream'
          : `narrow the rules of anonymous (one that is meant begins with ${hostToComponent(name)}/), or set public=true for this upstream`),
    );
  if (problems.length > 0) throw new ConfigError(problems);
}

/** Whether anonymous may pull something below `prefix` by a rule that does not name it. */
function opensTo({ rules }: Pick<AccessConfig, 'rules'>, prefix: string): boolean {
  return rules.some(
    ({ subjects, actions, repositories }) =>
      subjects.includes('anonymous') &&
      (actions.includes('pull') || actions.includes('push')) &&
      repositories.some((pattern) => {
        const wildcard = pattern.indexOf('*');
        return wildcard >= 0 && wildcard < prefix.length && prefix.startsWith(pattern.slice(0, wildcard));
      }),
  );
}
