/** A swarm's observer for who does not observe. */
import type { SwarmObserver } from '#swarm';

const nothing = (): void => undefined;

export const ignoring: SwarmObserver = {
  payload: nothing,
  pieceRejected: nothing,
  connected: nothing,
  disconnected: nothing,
  seedUnreadable: nothing,
};
