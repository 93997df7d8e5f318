/**
 * What begins prefetches beside commands: tags that are pushed here, by rules, and other tools' calls. The same image for the
 * same nodes is not ordered twice while it is under way.
 */
import path from 'node:path';
import { ProblemError } from '#http';
import type { Logger } from '#telemetry';
import { isFinal, type Rollout } from './machine.ts';
import type { Rollouts } from './rollouts.ts';

/** Tags that match, of repositories that match, go to the nodes that the selector selects. */
export interface PushRule {
  /** A glob over repository names: `*` within one part of the name, `**` over parts. */
  readonly repository: string;
  /** A glob over tags. */
  readonly tag: string;
  readonly selector: string;
}

export interface Triggers {
  /** A manifest was pushed with these tags. Never throws: whoever pushed does not wait. */
  pushed(repository: string, tags: readonly string[]): void;
  /** @throws ProblemError as `Rollouts.create` */
  prefetch(image: string, selector: string, trigger: string): Promise<Rollout>;
}

const DEADLINE_MS = 24 * 3_600_000;

export function createTriggers(options: {
  readonly rollouts: Rollouts;
  readonly rules: readonly PushRule[];
  readonly log: Logger;
}): Triggers {
  const { rollouts, rules, log } = options;
  const matches = (rule: PushRule, repository: string, tag: string): boolean =>
    path.posix.matchesGlob(repository, rule.repository) && path.posix.matchesGlob(tag, rule.tag);

  const prefetch: Triggers['prefetch'] = async (image, selector, trigger) => {
    const { digest } = await rollouts.resolve(image);
    const running = rollouts
      .list()
      .find((each) => !isFinal(each) && each.digest === digest && each.selector === selector);
    if (running !== undefined) return running;
    return rollouts.create({
      ...{ kind: 'prefetch', image, selector, trigger, platforms: [], deadlineMs: DEADLINE_MS },
      waves: [{ percent: 100 }],
    });
  };

  return {
    prefetch,
    pushed(repository, tags) {
      for (const tag of tags) {
        for (const rule of rules.filter((each) => matches(each, repository, tag))) {
          const image = `${repository}:${tag}`;
          prefetch(image, rule.selector, 'push').catch((error: unknown) => {
            // With no node yet there is nobody to bring it to.
            const nobody = error instanceof ProblemError && error.status === 409;
            log[nobody ? 'info' : 'error'](
              { image, selector: rule.selector, err: error },
              'no prefetch for a push',
            );
          });
        }
      }
    },
  };
}
