/** What a list of servers is while names gain and lose addresses, and while they cannot be resolved. */
import t, { type Test } from 'tap';
import { type Endpoints, followEndpoints, plainUrl, resolveEndpoints } from '#endpoints';
import { createLogger } from '#telemetry';
import { until } from '../../support/in-process.ts';

const log = createLogger({ program: 'test', level: 'silent' });
const URL_OF = 'dns+http://origin.test:5000';

/** A name whose addresses, or failure, the test sets; every look-up counts. */
class Names {
  addresses: readonly string[] | Error = [];
  asked = 0;
  readonly lookup = async () => {
    this.asked += 1;
    if (this.addresses instanceof Error) throw this.addresses;
    return this.addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
  };
  /** When a look-up that began after now has been taken. */
  async again(times = 2): Promise<void> {
    const before = this.asked;
    await until(() => this.asked >= before + times);
  }
}

function follow(t: Test, names: Names, urls: readonly string[] = [URL_OF]): Endpoints {
  const endpoints = followEndpoints(urls, { log, lookup: names.lookup, refreshMs: 100 });
  t.teardown(() => endpoints.close());
  return endpoints;
}

const addressesOf = (endpoints: Endpoints): readonly (string | undefined)[] =>
  endpoints.current().map(({ address }) => address);

t.test('a plain URL is one server, whatever its name has, and is never looked up', async (t) => {
  const names = new Names();
  const endpoints = follow(t, names, ['http://a.test:5000/', 'https://b.test']);
  t.same(endpoints.current(), [
    { url: 'http://a.test:5000', address: undefined, name: 'http://a.test:5000' },
    { url: 'https://b.test', address: undefined, name: 'https://b.test' },
  ]);
  await endpoints.resolved(new AbortController().signal);
  t.equal(endpoints.problem(), undefined);
  t.equal(names.asked, 0);
});

t.test('each address is a server: sorted, of one family, no more than sixteen', async (t) => {
  const names = new Names();
  names.addresses = ['10.0.0.9', 'fd00::1', '10.0.0.10', '10.0.0.9'];
  const endpoints = follow(t, names, ['http://first.test', URL_OF]);
  await endpoints.resolved(AbortSignal.timeout(5_000));
  t.same(
    endpoints.current().map(({ url, name }) => [url, name]),
    [
      ['http://first.test', 'http://first.test'],
      ['http://origin.test:5000', 'http://origin.test:5000 (10.0.0.10)'],
      ['http://origin.test:5000', 'http://origin.test:5000 (10.0.0.9)'],
    ],
  );
  names.addresses = Array.from({ length: 40 }, (_, index) => `10.0.1.${index + 10}`);
  const once = await resolveEndpoints(URL_OF, names.lookup);
  t.same([once.length, once.at(0)?.address, once.at(-1)?.address], [16, '10.0.1.10', '10.0.1.25']);
  t.same((await resolveEndpoints('https://plain.test/', names.lookup)).length, 1);
});

t.test('what comes is begun, what two answers in a row lack is ended', async (t) => {
  const names = new Names();
  names.addresses = ['10.0.0.1', '10.0.0.2'];
  const endpoints = follow(t, names);
  const events: string[] = [];
  const each = endpoints.each(
    ({ address }) => {
      events.push(`begin ${address}`);
      return { address };
    },
    ({ address }) => events.push(`end ${address}`),
  );
  await endpoints.resolved(AbortSignal.timeout(5_000));
  t.same(events, ['begin 10.0.0.1', 'begin 10.0.0.2']);
  const [first] = each.values();
  names.addresses = ['10.0.0.2', '10.0.0.0'];
  await until(() => addressesOf(endpoints).length === 2 && addressesOf(endpoints)[0] === '10.0.0.0');
  t.same(events.slice(2), ['begin 10.0.0.0', 'end 10.0.0.1']);
  t.same(
    each.values().map(({ address }) => address),
    ['10.0.0.0', '10.0.0.2'],
    'in the order of the list',
  );
  t.notOk(each.values().some((value) => value === first));
  const late: (string | undefined)[] = [];
  endpoints.each(
    (endpoint) => {
      late.push(endpoint.address);
      return endpoint;
    },
    () => undefined,
  );
  t.same(late, ['10.0.0.0', '10.0.0.2'], 'who asks late is told of those that are there');
});

t.test('an address that one answer lacks stays', async (t) => {
  let asked = 0;
  const lookup = async () => {
    asked += 1;
    const shown = asked % 2 === 0 ? ['10.0.0.1'] : ['10.0.0.1', '10.0.0.2'];
    return shown.map((address) => ({ address, family: 4 }));
  };
  const endpoints = followEndpoints([URL_OF], { log, lookup, refreshMs: 100 });
  t.teardown(() => endpoints.close());
  const events: string[] = [];
  endpoints.each(
    (endpoint) => {
      events.push(`begin ${endpoint.address}`);
      return endpoint;
    },
    ({ address }) => events.push(`end ${address}`),
  );
  await until(() => asked >= 6);
  t.same(events, ['begin 10.0.0.1', 'begin 10.0.0.2']);
});

t.test('a name that cannot be resolved keeps what it had, and at the start is tried again', async (t) => {
  const names = new Names();
  names.addresses = new Error('getaddrinfo EAI_AGAIN origin.test');
  const endpoints = follow(t, names);
  t.match(endpoints.problem(), /not resolved yet/);
  await endpoints.resolved(AbortSignal.timeout(5_000));
  t.match(endpoints.problem(), /the name origin\.test cannot be resolved: .*EAI_AGAIN/);
  t.same(endpoints.unresolved(), ['http://origin.test:5000']);
  names.addresses = [];
  await until(() => endpoints.problem()?.includes('no address') === true);
  names.addresses = ['10.0.0.1'];
  await until(() => endpoints.problem() === undefined);
  t.same(endpoints.unresolved(), []);
  for (const nothing of [new Error('ENOTFOUND'), []]) {
    names.addresses = nothing;
    await names.again(4);
    t.same(addressesOf(endpoints), ['10.0.0.1']);
    t.equal(endpoints.problem(), undefined, 'there is one to ask');
  }
});

t.test('doubt brings the next look-up forward', async (t) => {
  const names = new Names();
  names.addresses = ['10.0.0.1'];
  const endpoints = followEndpoints([URL_OF], { log, lookup: names.lookup, refreshMs: 3_600_000 });
  t.teardown(() => endpoints.close());
  await endpoints.resolved(AbortSignal.timeout(5_000));
  const [endpoint] = endpoints.current();
  if (endpoint === undefined) throw new Error('no server');
  endpoints.doubt(endpoint);
  await until(() => names.asked === 2);
  t.pass('sooner than in an hour');
});

t.test('without dns+ and without a slash at its end', async (t) => {
  t.equal(plainUrl('dns+https://a.test:1/'), 'https://a.test:1');
  t.equal(plainUrl('http://a.test'), 'http://a.test');
});
