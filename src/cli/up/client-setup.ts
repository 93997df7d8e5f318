/** The exact lines with which containerd, CRI-O and podman use an agent. README shows the same. */

/** `agent` and `origin` are URLs; `reference` is an image that is on the origin. */
export function clientSetup(agent: string, origin: string, reference: string): string {
  const mirror = new URL(agent).host;
  return `Use it (agent ${agent}, origin ${origin}):

containerd: put this into /etc/containerd/certs.d/_default/hosts.toml
    [host."${agent}"]
      capabilities = ["pull", "resolve"]
  and into /etc/containerd/config.toml (version 2; in version 1 the table is plugins."io.containerd.grpc.v1.cri".registry)
    [plugins."io.containerd.cri.v1.images".registry]
      config_path = "/etc/containerd/certs.d"
  then
    ctr images pull --hosts-dir /etc/containerd/certs.d docker.io/${reference}

CRI-O and podman: put this into /etc/containers/registries.conf.d/50-shoal.conf
    [[registry]]
    location = "docker.io"
    [[registry.mirror]]
    location = "${mirror}/docker.io"
    insecure = true
  then
    podman pull docker.io/${reference}
  or, without any set-up,
    podman pull --tls-verify=false ${mirror}/${reference}

Push to the origin:
    skopeo copy --dest-tls-verify=false docker-archive:image.tar docker://${new URL(origin).host}/library/app:v1
`;
}
