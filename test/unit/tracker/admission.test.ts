import t from 'tap';
import type { InfoHash } from '#torrent';
import { createAdmission } from '../../../tracker/admission.ts';
import { AdmissionError } from '../../../tracker/questions.ts';
import { randomInfoHash } from '../../support/tracker.ts';

const seeds = [{ host: '127.0.0.1', port: 6881 }];

t.test('an answer is remembered: a yes longer than a no', async (t) => {
  let now = 0;
  const asked: InfoHash[] = [];
  const [known, unknown] = [randomInfoHash(), randomInfoHash()];
  const admission = createAdmission({
    now: () => now,
    admit: async (infoHash) => {
      asked.push(infoHash);
      return infoHash === known ? { seeds } : undefined;
    },
  });
  const both = async (): Promise<number> => {
    t.match(await admission.seedsOf(known), [{ port: 6881, ip: '127.0.0.1' }]);
    t.equal(await admission.seedsOf(unknown), undefined);
    return asked.length;
  };
  t.equal(await both(), 2);
  t.equal(await both(), 2);
  now = 3_000;
  t.equal(await both(), 3, 'a blob may have been pushed');
  now = 31_000;
  t.equal(await both(), 5);
  admission.forget(known);
  t.equal(await both(), 6);
});

t.test('one question at a time for a blob, and a bounded number in all', async (t) => {
  const release: (() => void)[] = [];
  const admission = createAdmission({
    now: () => 0,
    admit: () => new Promise((resolve) => release.push(() => resolve(undefined))),
  });
  const same = randomInfoHash();
  const waiting = Array.from({ length: 100 }, () => admission.seedsOf(same));
  t.equal(release.length, 1);
  waiting.push(...Array.from({ length: 63 }, () => admission.seedsOf(randomInfoHash())));
  t.equal(release.length, 64);
  await t.rejects(admission.seedsOf(randomInfoHash()), AdmissionError);
  for (const answer of release) answer();
  await Promise.all(waiting);
  const later = admission.seedsOf(randomInfoHash());
  release[64]?.();
  t.equal(await later, undefined, 'room again');
});

t.test('a failure is not remembered', async (t) => {
  let broken = true;
  const admission = createAdmission({
    now: () => 0,
    admit: async () => {
      if (broken) throw new Error('away');
      return { seeds: [{ host: 'no such name', port: 1 }] };
    },
  });
  const infoHash = randomInfoHash();
  await t.rejects(admission.seedsOf(infoHash), AdmissionError);
  broken = false;
  t.match(await admission.seedsOf(infoHash), [{ ip: undefined }]);
});
