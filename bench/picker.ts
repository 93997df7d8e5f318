/**
 * What a decision of the picker costs: `node bench/picker.ts [pieces] [peers]`.
 * A whole blob is picked and received through it, with peers of different fullness; each kind of
 * operation is timed apart. The figures must not grow with the number of pieces.
 */
import { createPicker } from '../src/swarm/picker/index.ts';
import { createRandom } from './simulate/random.ts';

const BLOCKS = 16;
const BLOCK_BYTES = 16_384;

interface Timing {
  calls: number;
  totalNs: bigint;
  worstNs: bigint;
}

function timed<T>(timings: Map<string, Timing>, name: string, run: () => T): T {
  const began = process.hrtime.bigint();
  const answer = run();
  const took = process.hrtime.bigint() - began;
  const timing = timings.get(name) ?? { calls: 0, totalNs: 0n, worstNs: 0n };
  timing.calls++;
  timing.totalNs += took;
  if (took > timing.worstNs) timing.worstNs = took;
  timings.set(name, timing);
  return answer;
}

function measure(
  pieceCount: number,
  peerCount: number,
  fullness: (peer: number, piece: number) => boolean,
): Map<string, Timing> {
  const random = createRandom(1);
  const timings = new Map<string, Timing>();
  const picker = timed(timings, 'create', () =>
    createPicker<number>({
      pieceCount,
      pieceSize: () => BLOCKS * BLOCK_BYTES,
      held: () => false,
      random,
    }),
  );
  for (let peer = 0; peer < peerCount; peer++) {
    const bits = new Uint8Array((pieceCount + 7) >> 3);
    for (let piece = 0; piece < pieceCount; piece++) {
      if (fullness(peer, piece)) bits[piece >> 3] = (bits[piece >> 3] ?? 0) | (0x80 >> (piece & 7));
    }
    timed(timings, 'join+bitfield', () => {
      picker.join(peer);
      picker.bitfield(peer, bits);
    });
  }
  let idle = 0;
  for (let turn = 0; picker.missing > 0 && idle < peerCount; turn++) {
    const peer = turn % peerCount;
    const blocks = timed(timings, 'pick 16 blocks', () => picker.pick(peer, BLOCKS, { now: turn }));
    idle = blocks.length === 0 ? idle + 1 : 0;
    for (const { piece, offset } of blocks) picker.received(peer, piece, offset);
    for (const { piece } of blocks) {
      if (picker.availability(piece) === 0) throw new Error('picked what nobody has');
    }
    const last = blocks.at(-1);
    if (last !== undefined) timed(timings, 'verified', () => picker.verified(last.piece));
    const other = Math.floor(random() * peerCount);
    const piece = Math.floor(random() * pieceCount);
    timed(timings, 'have', () => picker.have(other, piece));
    timed(timings, 'wants+unavailable', () => picker.wants(other) && picker.unavailable());
  }
  timed(timings, 'leave', () => picker.leave(0));
  return timings;
}

function print(title: string, timings: Map<string, Timing>): void {
  console.log(`\n${title}`);
  for (const [name, { calls, totalNs, worstNs }] of timings) {
    const mean = (Number(totalNs) / calls / 1_000).toFixed(2);
    console.log(
      `  ${name.padEnd(18)} ${String(calls).padStart(8)} calls  mean ${mean.padStart(9)} µs  worst ${(Number(worstNs) / 1_000).toFixed(0).padStart(7)} µs`,
    );
  }
}

const peers = Number(process.argv[3] ?? 100);
for (const pieces of process.argv[2] === undefined ? [10_000, 100_000] : [Number(process.argv[2])]) {
  const spread = createRandom(2);
  print(
    `${pieces} pieces, ${peers} peers, random halves`,
    measure(pieces, peers, () => spread() < 0.5),
  );
  print(
    `${pieces} pieces, ${peers} peers, one in fifty each`,
    measure(pieces, peers, () => spread() < 0.02),
  );
  print(
    `${pieces} pieces, ${peers} peers, each a block of its own (rarest are always elsewhere)`,
    measure(
      pieces,
      peers,
      (peer, piece) => Math.floor((piece * peers) / pieces) === peer || spread() < 0.005,
    ),
  );
}
