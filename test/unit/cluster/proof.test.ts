/** Proofs of requests: bound to all that they are of, to a moment, and good once. */
import fc from 'fast-check';
import t from 'tap';
import { bodyHash, createProofs, memberKey, ProofError } from '#cluster';
import { createIdentity } from '#swarm';
import { signingKey } from '../../../src/cluster/keys.ts';
import { type SignedRequest, signProof } from '../../../src/cluster/proof.ts';

const request: SignedRequest = { method: 'PUT', host: 'a:5000', target: '/x?y=1', statement: 'jwt' };

async function peer() {
  const identity = await createIdentity();
  const key = memberKey(identity.peerId);
  if (key === undefined) throw new Error('no key in the peer id');
  return { secret: signingKey(identity), key };
}

t.test('what was signed and nothing else', async (t) => {
  const { secret, key } = await peer();
  const stranger = await peer();
  const now = 1_777_000_000_000;
  const proofs = createProofs(() => now);
  const body = bodyHash(['{}']);
  t.equal(proofs.check(key, request, signProof(secret, request, body, now)), body);
  t.doesNotThrow(() =>
    proofs.check(key, { ...request, host: 'A:5000' }, signProof(secret, request, body, now)),
  );
  for (const change of [
    { method: 'GET' },
    { host: 'b:5000' },
    { target: '/x?y=2' },
    { statement: 'other' },
  ]) {
    const proof = signProof(secret, request, body, now);
    t.throws(
      () => proofs.check(key, { ...request, ...change }, proof),
      ProofError,
      Object.keys(change).join(),
    );
  }
  t.throws(() => proofs.check(stranger.key, request, signProof(secret, request, body, now)), ProofError);
  const parts = signProof(secret, request, body, now).split('.');
  for (const [at, part] of [
    [0, String(now + 1)],
    [1, 'A'.repeat(16)],
    [2, bodyHash(['{"a":1}'])],
  ] as const) {
    const forged = parts.map((each, index) => (index === at ? part : each)).join('.');
    t.throws(() => proofs.check(key, request, forged), ProofError, `part ${at}`);
  }
});

t.test('each once, for as long as its time counts, however the windows turn', async (t) => {
  const { secret, key } = await peer();
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 90_000 }), { maxLength: 12 }), async (steps) => {
      let now = 1_777_000_000_000;
      const proofs = createProofs(() => now);
      const used: string[] = [];
      for (const step of steps) {
        now += step;
        // Of clocks that are wrong by up to a minute, either way.
        const proof = signProof(secret, request, bodyHash([]), now + (step % 2 === 0 ? 59_000 : -59_000));
        proofs.check(key, request, proof);
        used.push(proof);
        for (const each of used) {
          t.throws(() => proofs.check(key, request, each), ProofError);
        }
      }
    }),
    { numRuns: 40 },
  );
  const proofs = createProofs(() => 1_777_000_000_000);
  for (const off of [-61_000, 61_000]) {
    const proof = signProof(secret, request, bodyHash([]), 1_777_000_000_000 + off);
    t.throws(() => proofs.check(key, request, proof), /clocks/);
  }
});

t.test('what cannot be read is refused', async (t) => {
  const { key } = await peer();
  const proofs = createProofs(Date.now);
  fc.assert(
    fc.property(fc.string(), (text) => {
      t.throws(() => proofs.check(key, request, text), ProofError);
    }),
    { numRuns: 100 },
  );
  for (const text of ['', '12D3KooW', `12D3KooW${'1'.repeat(44)}`, 'x'.repeat(52)])
    t.equal(memberKey(text), undefined);
});
