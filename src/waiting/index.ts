/** Waits that end early: for others, for a signal, or after a time; and how long to wait for who is out. */
export { backoffMs, createPause, type Pause } from './pause.ts';
export { createTurnstile, type Turnstile } from './turnstile.ts';
