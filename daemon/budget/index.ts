/**
 * The network budget: which rates the agent keeps to now, by configuration, time of day, rollouts and an operator's word.
 *
 *     const budget = await openBudget({ config, data, log });
 *     budget.follow((limits) => swarm.limit(swarmRates(limits)));
 *     budget.rollout({ until: Date.now() + 600_000 });
 */
export { type BudgetConfig, swarmRates } from './budget.ts';
export { openBudget } from './kept.ts';
export { exposeLimits, registerLimits } from './routes.ts';
