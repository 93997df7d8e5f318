/** The options of what begins prefetches by itself, and how their values become configuration. */
import { type Kind, kind, oneOf, repeated, type Values, withDefault } from '#config';
import type { PreheatDriver } from './preheat.ts';
import { parseSelector } from './selector.ts';
import type { PushRule } from './triggers.ts';

export interface TriggerConfig {
  readonly pushRules: readonly PushRule[];
  readonly preheatDrivers: readonly PreheatDriver[];
  readonly preheatNodes: string;
}

function isSelector(text: string): boolean {
  try {
    parseSelector(text);
    return true;
  } catch {
    return false;
  }
}

/** Selectors have commas. */
const pushRule: Kind<PushRule> = {
  ...kind('REPOSITORY:TAG=SELECTOR', 'REPOSITORY:TAG=SELECTOR, for example team/**:v*=zone=eu1/*', (text) => {
    const [, repository, tag, selector] =
      /^([a-z0-9*?._/-]{1,255}):([\w.*?-]{1,128})=(\S{1,1024})$/.exec(text) ?? [];
    if (repository === undefined || tag === undefined || selector === undefined) return undefined;
    return isSelector(selector) ? { repository, tag, selector } : undefined;
  }),
  separator: ';',
};
const selector = kind('SELECTOR', 'a selector such as zone=eu1/* or *', (text) =>
  isSelector(text) ? text : undefined,
);

export const triggerOptions = {
  'rollout.on-push': repeated(
    pushRule,
    'have the nodes that SELECTOR selects fetch what is pushed here: tags that match, of repositories that match (* within a part of the name, ** over parts)',
  ),
  'preheat.drivers': repeated(
    oneOf('kraken', 'dragonfly') as Kind<PreheatDriver>,
    "take preheat calls of other tools, such as Harbor's drivers: kraken: /health, /registry/notifications; dragonfly: /healthy, /oapi/v1/jobs",
  ),
  'preheat.nodes': withDefault(selector, '*', 'the nodes that these calls are for'),
} as const;

export function triggerConfig(values: Values<typeof triggerOptions>): TriggerConfig {
  return {
    pushRules: values['rollout.on-push'],
    preheatDrivers: values['preheat.drivers'],
    preheatNodes: values['preheat.nodes'],
  };
}
