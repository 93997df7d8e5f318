/** Pages by path, without loading the document anew. Links stay links: they open in new tabs as ever. */
import { useEffect, useState } from 'preact/hooks';

const BASE = '/ui/';

/** The path behind /ui/, as parts. */
export function usePath(): string {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const onClick = (event: MouseEvent): void => {
      const link = event.target instanceof Element ? event.target.closest('a') : null;
      const plain =
        event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
      if (link === null || !plain || event.defaultPrevented || link.target !== '') return;
      const url = new URL(link.href);
      if (url.origin !== location.origin || !url.pathname.startsWith(BASE) || url.hash !== '') return;
      event.preventDefault();
      // Not null: the page came from another one, and its heading takes the focus.
      history.pushState('', '', url);
      scrollTo(0, 0);
      setPath(url.pathname);
    };
    const onBack = (): void => setPath(location.pathname);
    document.addEventListener('click', onClick);
    addEventListener('popstate', onBack);
    return () => {
      document.removeEventListener('click', onClick);
      removeEventListener('popstate', onBack);
    };
  }, []);
  return path.slice(BASE.length);
}

/** A path of parts that may have any character but the slashes of names. */
export function href(...parts: readonly string[]): string {
  return BASE + parts.map((part) => part.split('/').map(encodeURIComponent).join('/')).join('/');
}
