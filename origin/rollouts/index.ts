/**
 * Rollouts: bringing an image to many nodes, in waves, within a rate. A prefetch is a rollout of one wave
 * without limits.
 *
 *     const rollouts = await createRollouts({ db, resolve, log, metrics });
 *     registerRollouts(app, rollouts, { guard, holdings });
 *     await rollouts.create({ kind: 'prefetch', image: 'team/app:v7', selector: 'zone=eu1/*', … });
 *     await rollouts.close();
 */

export { isFinal } from './machine.ts';
export type { TriggerConfig } from './options.ts';
export { registerPreheat } from './preheat.ts';
export { createRollouts, type ResolvedImage, type Rollouts } from './rollouts.ts';
export { registerRollouts } from './routes.ts';
export { createTriggers } from './triggers.ts';
export { type NodeView, summaryOf } from './view.ts';
