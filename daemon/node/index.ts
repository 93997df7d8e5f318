/**
 * The node around an agent: the configuration of its container clients, and what may be wrong with it.
 *
 *     const tree = openTree('/');
 *     const setup = await planSetup({
 *       tree,
 *       subject: 'containerd',
 *       plan: (view) => planContainerd(view, '/etc/containerd/config.toml', { agent, registries: 'all' }),
 *     });
 *     process.stdout.write(diffOf(setup.changes));
 *     await setup.apply();
 *     await (await planUndo(tree, 'containerd')).apply(); // every file as before, to the byte
 */

export { containerdConfig, planContainerd } from './containerd.ts';
export type { NodeClient } from './doctor/clients.ts';
export { checkDisk } from './doctor/disk.ts';
export type { Finding } from './doctor/finding.ts';
export { examine, type Patient } from './doctor/index.ts';
export { NodeSetupError } from './error.ts';
export type { Plan, View, Wanted } from './plan.ts';
export { planRegistries } from './registries.ts';
export { type Change, diffOf, planSetup, planUndo, type Setup } from './setup.ts';
export { openTree, type Tree } from './tree.ts';
