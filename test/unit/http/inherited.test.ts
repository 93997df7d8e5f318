import t from 'tap';
import { inheritedListener } from '../../../src/http/inherited.ts';

t.test('sd_listen_fds: ours by process id and name, once', async (t) => {
  const taken = (environment: NodeJS.ProcessEnv) => inheritedListener(environment, 7);
  t.equal(taken({}), undefined);
  t.equal(taken({ LISTEN_PID: '8', LISTEN_FDS: '1' }), undefined, 'for another process');
  t.equal(taken({ LISTEN_PID: '7', LISTEN_FDS: '0' }), undefined);
  t.equal(taken({ LISTEN_PID: '7', LISTEN_FDS: 'x' }), undefined);
  t.equal(taken({ LISTEN_PID: '7', LISTEN_FDS: '1' }), 3);
  t.equal(taken({ LISTEN_PID: '7', LISTEN_FDS: '1', LISTEN_FDNAMES: 'shoal-agent.socket' }), 3);
  t.equal(taken({ LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'other:http' }), 4);
  t.throws(
    () => taken({ LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b' }),
    /FileDescriptorName=http/,
  );
  const environment = { LISTEN_PID: '7', LISTEN_FDS: '1', PATH: '/bin' };
  taken(environment);
  t.strictSame(environment, { PATH: '/bin' }, 'children do not take it for theirs');
});
