/**
 * Admission: who is a member of the cluster. An origin that has the cluster's key admits; everybody else
 * knows the cluster by its name, which is the public key, and checks what it signed.
 *
 *     const membership = await openMembership({ identity, role: 'agent', joinTokenFile, origins, http, … });
 *     await membership.http.request(`${origin}/api/v1/agents/…`);  // shown and proved
 *     const guard = createGuard(membership.cluster, { now });       // the server's side
 *     const member = await guard.demand(request.raw);               // throws 401
 *
 * Nothing here logs a token, and no error carries one.
 */
export { type Cluster, createCluster } from './cluster.ts';
export { createGuard, type Guard } from './guard.ts';
export { type ClusterKey, clusterKeyFile, initCluster, memberKey, readClusterKey } from './keys.ts';
export {
  checkStanding,
  JOIN_PATH,
  JOIN_PROOF_HEADER,
  type Membership,
  openMembership,
  RENEW_PATH,
  REVOCATIONS_PATH,
} from './membership.ts';
export { checkClusterPasskey, signClusterPasskey } from './passkey.ts';
export { bodyHash, createProofs, PROOF_HEADER, ProofError } from './proof.ts';
export { createRefusals, exposeMembership, membershipForSwarm, registerRevocations } from './service.ts';
export {
  createJoinToken,
  type JoinClaims,
  type Member,
  type MemberRole,
  StatementError,
  signMembership,
  signRevocation,
  verifyJoinStatement,
} from './statements.ts';
