/** Whether a connected origin may be asked: for what the agents lack, or because they are slow. */
import type { Peer } from '../peer/index.ts';
import type { Picker } from '../picker/index.ts';

/** Below this pace agents do not suffice and the origin helps, bytes per second. */
export const ENOUGH_RATE = 2 * 1024 * 1024;

/** Agents' pipelines fill within this time: only then is their pace judged. */
const SETTLED_MS = 1_500;

/** How often it is judged: the answer costs a look at each missing piece. */
const JUDGE_MS = 250;

export interface OriginNeed {
  /** As of the last judgement. */
  now(): boolean;
}

export function createOriginNeed(options: {
  readonly sources: ReadonlyMap<Peer, { readonly seed: boolean }>;
  readonly picker: Picker<Peer>;
  readonly pieceCount: number;
  readonly holds: (piece: number) => boolean;
  readonly now: () => number;
}): OriginNeed {
  const { sources, picker } = options;
  let judgeAt = 0;
  let needed = true;

  function agentsLackSomething(origins: readonly Peer[]): boolean {
    for (let piece = 0; piece < options.pieceCount; piece++) {
      if (options.holds(piece)) continue;
      const fromOrigins = origins.filter((peer) => picker.has(peer, piece)).length;
      if (picker.availability(piece) <= fromOrigins) return true;
    }
    return false;
  }

  function judge(at: number): boolean {
    let rate = 0;
    let oldest = at;
    let agents = 0;
    let willingSeeds = 0;
    const origins: Peer[] = [];
    for (const [peer, source] of sources) {
      if (peer.role === 'origin') {
        origins.push(peer);
        continue;
      }
      agents++;
      rate += peer.downRate(at);
      oldest = Math.min(oldest, peer.connectedAt);
      if (source.seed && !peer.choking) willingSeeds++;
    }
    if (agents === 0) return true;
    if (at - oldest > SETTLED_MS && rate < ENOUGH_RATE) return true;
    return willingSeeds === 0 && agentsLackSomething(origins);
  }

  return {
    now() {
      const at = options.now();
      if (at >= judgeAt) {
        judgeAt = at + JUDGE_MS;
        needed = judge(at);
      }
      return needed;
    },
  };
}
