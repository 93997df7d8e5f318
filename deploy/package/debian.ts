/** The control files of the Debian package (Debian Policy 5 to 7). */

export function control(options: {
  readonly version: string;
  readonly architecture: string;
  /** Installed size. */
  readonly kib: number;
}): string {
  return `Package: shoal
Version: ${options.version}
Architecture: ${options.architecture}
Maintainer: The Shoal authors <shoal@localhost>
Installed-Size: ${options.kib}
Depends: libc6 (>= 2.28), libstdc++6
Recommends: systemd, ca-certificates
Section: admin
Priority: optional
Description: peer-to-peer distribution of container images
 Compute nodes fetch the layers of container images from each other; containerd,
 CRI-O and podman use the agent of their node as a registry mirror. The origin
 keeps the images, seeds them and runs the tracker. The Node.js runtime is inside.
`;
}

export function conffiles(programs: readonly string[]): string {
  return programs.map((program) => `/etc/shoal/${program}.yaml\n`).join('');
}

/** A chroot or a container has no running systemd: users and folders are made all the same. */
export function maintainerScripts(programs: readonly string[]): Readonly<Record<string, string>> {
  const services = programs.map((program) => `shoal-${program}.service`).join(' ');
  return {
    postinst: `#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
if ! getent passwd shoal >/dev/null; then
  if command -v systemd-sysusers >/dev/null; then systemd-sysusers shoal.conf
  else useradd --system --user-group --home-dir /var/lib/shoal --no-create-home --shell /usr/sbin/nologin shoal
  fi
fi
install -d -m 0750 -o root -g shoal /etc/shoal
install -d -m 0750 -o shoal -g shoal /var/lib/shoal
for program in ${programs.join(' ')}; do
  if [ -e /etc/shoal/$program.yaml ]; then
    chgrp shoal /etc/shoal/$program.yaml
    chmod 0640 /etc/shoal/$program.yaml
  fi
done
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # What runs is renewed; the agent's socket keeps its clients waiting meanwhile.
  systemctl try-restart ${services}
fi
if [ -z "$2" ]; then
  echo "shoal: name your origin in /etc/shoal/agent.yaml, then: systemctl enable --now shoal-agent.socket shoal-agent"
  echo "shoal: and let the node's clients use it: shoal node setup containerd"
fi
`,
    prerm: `#!/bin/sh
set -e
[ "$1" = remove ] || exit 0
# Clients must not look for an agent that is gone. What was changed since stays, with a word on it.
for client in containerd podman; do
  shoal node setup $client --undo || true
done
if [ -d /run/systemd/system ]; then
  systemctl disable --now shoal-agent.socket ${services} || true
fi
`,
    postrm: `#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
if [ "$1" = purge ]; then rm -rf /var/lib/shoal /var/cache/shoal /etc/shoal; fi
`,
  };
}
