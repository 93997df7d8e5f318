import t from 'tap';
import { formatRepository, toRepository } from '../../../daemon/repository.ts';
import { parseRepositoryName } from '../../../src/oci/reference.ts';

t.test('both forms of naming a registry mean the same', async (t) => {
  const asked = (name: string, ns?: string): string =>
    formatRepository(toRepository(parseRepositoryName(name), ns));
  t.equal(asked('library/app', 'docker.io'), 'docker.io/library/app');
  t.equal(asked('docker.io/library/app'), 'docker.io/library/app');
  t.equal(asked('docker.io/library/app', 'docker.io'), 'docker.io/library/app');
  t.equal(asked('library/app'), 'library/app');
  t.equal(asked('app', ''), 'app');
  t.equal(asked('team/app', 'registry.example:5000'), 'registry.example:5000/team/app');
  t.equal(asked('app', '[::1]:5000'), '[::1]:5000/app');
});

t.test('an ns that is no host is refused', async (t) => {
  for (const ns of ['a/b', 'a b', '../x', 'x'.repeat(256), 'a\n']) {
    t.throws(() => toRepository(parseRepositoryName('app'), ns), { code: 'NAME_INVALID' });
  }
});
