/** Finding members without a tracker, and asking them: loaded only when it is switched on. */
export { createOverlay } from './overlay.ts';
