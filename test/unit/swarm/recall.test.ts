import t from 'tap';
import { createPieceMemory, createPieces } from '../../../src/swarm/blob/pieces.ts';
import { createSoon } from '../../../src/swarm/blob/soon.ts';

const PIECE = 4 * 16_384;

function swarm(maxPieces: number) {
  const memory = createPieceMemory(maxPieces * PIECE);
  return createPieces({ pieceLength: PIECE, pieceSize: () => PIECE, memory });
}

/** Opens a piece, fills it with its number, and is done with it. */
function bring(pieces: ReturnType<typeof swarm>, piece: number, fate: 'stored' | 'at rest' | 'in use'): void {
  const open = pieces.ensure(piece);
  open?.bytes.fill(piece);
  open?.seal();
  pieces.close(piece, fate);
}

t.test('bytes of stored pieces are there until their memory gets another use', async (t) => {
  const pieces = swarm(8);
  pieces.ensure(9);
  bring(pieces, 1, 'stored');
  bring(pieces, 2, 'stored');
  const into = Buffer.alloc(PIECE);
  t.ok(pieces.recall(PIECE, into));
  t.ok(into.every((byte) => byte === 1));
  t.ok(pieces.recall(PIECE + PIECE / 2, into), 'across the border of two pieces');
  t.equal(into[PIECE / 2 - 1], 1);
  t.equal(into[PIECE / 2], 2);
  t.notOk(pieces.recall(2 * PIECE + 1, into), 'not when a part is not there');
});

t.test('the buffer that was free longest is used first', async (t) => {
  const kept = (32 * 1024 ** 2) / PIECE;
  const pieces = swarm(8);
  pieces.ensure(2 * kept);
  for (let piece = 0; piece < kept + 8; piece++) bring(pieces, piece, 'stored');
  const into = Buffer.alloc(PIECE);
  t.notOk(pieces.recall(0, into));
  t.ok(pieces.recall((kept + 7) * PIECE, into));
  t.ok(into.every((byte) => byte === ((kept + 7) & 0xff)));
});

t.test('bad bytes and bytes that somebody still reads are not recalled', async (t) => {
  const pieces = swarm(8);
  pieces.ensure(9);
  bring(pieces, 1, 'at rest');
  bring(pieces, 2, 'in use');
  t.notOk(pieces.recall(PIECE, Buffer.alloc(1)));
  t.notOk(pieces.recall(2 * PIECE, Buffer.alloc(1)));
});

t.test('an idle agent keeps no pieces', async (t) => {
  const pieces = swarm(8);
  pieces.ensure(9);
  bring(pieces, 1, 'stored');
  pieces.close(9);
  t.notOk(pieces.recall(PIECE, Buffer.alloc(1)));
});

t.test('work that was asked for many times is done once, and not after the end', async (t) => {
  let done = 0;
  const soon = createSoon(() => {
    done++;
  });
  soon.ask();
  soon.ask();
  t.equal(done, 0, 'not at once');
  await new Promise(setImmediate);
  t.equal(done, 1);
  soon.ask();
  soon.close();
  soon.ask();
  await new Promise(setImmediate);
  t.equal(done, 1);
});
