/**
 * TLS server names in rules: `www.example.net` is that name alone, `*.example.net` every name below it at any depth, and
 * not `example.net` itself.
 */
import { hostName } from '../wire/tls-hello.js';

const ANY_BELOW = '*.';

/** A pattern in the form that {@link isNamed} looks up; undefined for what is none. */
export function parseServerName(text: string): string | undefined {
  if (!text.startsWith(ANY_BELOW)) return hostName(text);
  const name = hostName(text.slice(ANY_BELOW.length));
  return name === undefined ? undefined : ANY_BELOW + name;
}

/** Whether one of the patterns is for this name. Takes as long as the name has labels, however many patterns there are. */
export function isNamed(patterns: ReadonlySet<string>, name: string): boolean {
  if (patterns.has(name)) return true;
  for (let dot = name.indexOf('.'); dot >= 0; dot = name.indexOf('.', dot + 1)) {
    if (patterns.has(`*${name.slice(dot)}`)) return true;
  }
  return false;
}
