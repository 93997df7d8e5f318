/** Platforms of an image index (OCI image specification, "image-index", property `platform`), written `os/architecture[/variant]`. */
import type { ManifestDescriptor } from './manifest.ts';

/** The platform of this machine. */
export function hostPlatform(): string {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };
  return `linux/${names[process.arch] ?? process.arch}`;
}

/** The entries that are images: what has no platform, or an unknown one, is an attestation or the like. */
export function imagesOf(entries: readonly ManifestDescriptor[]): ManifestDescriptor[] {
  return entries.filter(({ platform }) => platform !== undefined && platform.os !== 'unknown');
}

/** The first image of this platform; without a variant any will do. */
export function imageFor(
  images: readonly ManifestDescriptor[],
  platform: string,
): ManifestDescriptor | undefined {
  const [os, architecture, variant] = platform.split('/');
  return images.find(
    ({ platform: own }) =>
      own?.os === os &&
      own?.architecture === architecture &&
      (variant === undefined || own?.variant === variant),
  );
}
