import t from 'tap';
import { ConfigError } from '#config';
import { CommandError, exitCode, explain, UsageError } from '../../../src/cli/errors.ts';

const systemError = (code: string, fields: object = {}): Error =>
  Object.assign(new Error(`raw ${code}`), { code, ...fields });

t.test('known failures name the fix in one line', async (t) => {
  t.strictSame(explain(systemError('EADDRINUSE', { address: '127.0.0.1', port: 5000 })), [
    '127.0.0.1:5000 is in use: stop the program that has it or choose another address',
  ]);
  t.match(
    explain(new AggregateError([systemError('ECONNREFUSED', { address: '::1', port: 1 })]))[0],
    /^nothing listens at ::1:1/,
  );
  const locked = new Error('Database failed to open', { cause: systemError('LEVEL_LOCKED') });
  t.match(explain(locked)[0], /in use by another shoal/);
});

t.test('a surprise is its first line', async (t) => {
  t.strictSame(explain(new Error('one\ntwo')), ['one']);
  t.strictSame(explain('text'), ['text']);
});

t.test('configuration problems are all shown', async (t) => {
  t.strictSame(explain(new ConfigError(['a', 'b'])), ['a', 'b']);
});

t.test('exit codes: 2 for the command line and the configuration, 1 for the rest', async (t) => {
  t.equal(exitCode(new UsageError('x')), 2);
  t.equal(exitCode(new ConfigError(['x'])), 2);
  t.equal(exitCode(new CommandError('x')), 1);
  t.equal(exitCode(systemError('EADDRINUSE')), 1);
});
