/**
 * Rates: a limit that all peers of the agent share (`createRateLimiter`) and a meter of what one
 * peer achieves (`createMeter`). Both take their clock as an argument.
 */

export { createRateLimiter, type RateLimiter } from './limiter.ts';
export { createMeter, type Meter } from './meter.ts';
