import { BLOCK_BYTES } from '../wire/index.ts';
/** Interim: sequential-ish rarest first; replaced by ../picker. */
export interface Block {
  readonly piece: number;
  readonly offset: number;
  readonly length: number;
}
export function createPicker<P extends object>(o: {
  pieceCount: number;
  pieceSize: (p: number) => number;
  held: (p: number) => boolean;
}) {
  const have = new Uint8Array(o.pieceCount); // 1 verified, 2 verifying
  const peers = new Map<P, { bits: Uint8Array; count: number; useful: number }>();
  const open = new Map<
    number,
    { owners: Set<P>[]; done: boolean[]; only?: P | undefined; restart?: boolean }
  >();
  const avail = new Uint16Array(o.pieceCount);
  let missing = 0;
  for (let p = 0; p < o.pieceCount; p++) {
    if (o.held(p)) have[p] = 1;
    else missing++;
  }
  const blocks = (p: number) => Math.ceil(o.pieceSize(p) / BLOCK_BYTES);
  const place = (piece: number, b: number): Block => ({
    piece,
    offset: b * BLOCK_BYTES,
    length: Math.min(BLOCK_BYTES, o.pieceSize(piece) - b * BLOCK_BYTES),
  });
  let cursor = 0;
  let from = 0,
    to = -1;
  return {
    get missing() {
      return missing;
    },
    join(p: P) {
      peers.set(p, { bits: new Uint8Array(o.pieceCount), count: 0, useful: 0 });
    },
    leave(p: P) {
      const s = peers.get(p);
      if (!s) return;
      for (let i = 0; i < o.pieceCount; i++) if (s.bits[i]) avail[i]!--;
      peers.delete(p);
      for (const x of open.values()) {
        for (const w of x.owners) w.delete(p);
        if (x.only === p) x.only = undefined;
      }
    },
    have(p: P, piece: number): boolean {
      const s = peers.get(p);
      if (!s || s.bits[piece]) return false;
      s.bits[piece] = 1;
      s.count++;
      avail[piece]!++;
      if (have[piece] === 0) s.useful++;
      return true;
    },
    count: (p: P) => peers.get(p)?.count ?? 0,
    wants(p: P): boolean {
      const s = peers.get(p);
      if (!s) return false;
      for (let i = 0; i < o.pieceCount; i++) if (s.bits[i] && have[i] !== 1) return true;
      return false;
    },
    unavailable() {
      let n = 0;
      for (let i = 0; i < o.pieceCount; i++) if (have[i] === 0 && avail[i] === 0) n++;
      return n;
    },
    pick(p: P, max: number, maxOpen: number): Block[] {
      const s = peers.get(p);
      const out: Block[] = [];
      if (!s) return out;
      const takeFrom = (piece: number, endgame: boolean) => {
        const x = open.get(piece)!;
        if (x.only && x.only !== p) return;
        for (let b = 0; b < x.done.length && out.length < max; b++) {
          if (x.done[b]) continue;
          const w = x.owners[b]!;
          if (w.size === 0 || (endgame && w.size < 2 && !w.has(p))) {
            w.add(p);
            out.push(place(piece, b));
          }
        }
      };
      for (const piece of open.keys()) if (s.bits[piece] && have[piece] === 0) takeFrom(piece, false);
      const tryOpen = (i: number) => {
        if (have[i] !== 0 || open.has(i) || !s.bits[i]) return;
        const n = blocks(i);
        open.set(i, {
          owners: Array.from({ length: n }, () => new Set<P>()),
          done: new Array(n).fill(false),
        });
        takeFrom(i, false);
      };
      for (let i = from; i <= to && out.length < max && open.size < maxOpen; i++) tryOpen(i);
      for (let k = 0; k < o.pieceCount && out.length < max && open.size < maxOpen; k++)
        tryOpen((cursor + k) % o.pieceCount);
      while (cursor < o.pieceCount && have[cursor] === 1) cursor++;
      if (cursor >= o.pieceCount) cursor = 0;
      if (out.length === 0)
        for (const piece of open.keys()) if (s.bits[piece] && have[piece] === 0) takeFrom(piece, true);
      return out;
    },
    released(p: P, piece: number, offset: number) {
      open.get(piece)?.owners[offset / BLOCK_BYTES]?.delete(p);
    },
    received(p: P, piece: number, offset: number): P[] {
      const x = open.get(piece);
      if (!x) return [];
      const b = offset / BLOCK_BYTES;
      x.done[b] = true;
      const w = x.owners[b]!;
      w.delete(p);
      const others = [...w];
      w.clear();
      return others;
    },
    verifying(piece: number) {
      have[piece] = 2;
    },
    verified(piece: number) {
      if (have[piece] !== 1) {
        have[piece] = 1;
        missing--;
      }
      open.delete(piece);
    },
    failed(piece: number, only: P | undefined) {
      have[piece] = 0;
      const n = blocks(piece);
      open.set(piece, {
        owners: Array.from({ length: n }, () => new Set<P>()),
        done: new Array(n).fill(false),
        only,
      });
    },
    window(a: number, b: number) {
      from = a;
      to = b;
    },
    holders(piece: number): P[] {
      return [...peers].filter(([, s]) => s.bits[piece]).map(([p]) => p);
    },
  };
}
export type Picker<P extends object> = ReturnType<typeof createPicker<P>>;
