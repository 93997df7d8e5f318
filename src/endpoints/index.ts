/**
 * The servers that a program asks, from a list of URLs. `dns+http://NAME:PORT` and `dns+https://NAME:PORT` stand for every
 * address of the name, each a server of its own; the list then changes while the program runs.
 *
 *     const origins = followEndpoints(['dns+http://origin.shoal.svc:5000'], { log });
 *     const tellings = origins.each((origin) => tell(origin), (telling) => telling.close());
 *     for (const origin of origins.current()) await endpointClient(http, origin).request(`${origin.url}/v2/`);
 *     origins.close();
 */
export { type Endpoint, endpointClient, isEndpointUrl, plainUrl, resolveEndpoints } from './endpoint.ts';
export { type Each, type Endpoints, fixedEndpoints, followEndpoints } from './endpoints.ts';
