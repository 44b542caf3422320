/** What bench transcode compresses: files of this Debian system, so that nobody has to ship them. */
import { createCipheriv } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../host/paths.js';

export interface Corpus {
  readonly name: string;
  /** Where it is from. */
  readonly source: string;
  readonly bytes: Buffer;
}

const PACKAGES = '/var/lib/dpkg/status';
const LICENCES = '/usr/share/common-licenses';
const PROGRAMS = '/usr/bin';
/** Where a Debian system may have pages; the last one is there whenever this program is. */
const PAGES = ['/usr/share/doc', '/usr/share', join(packageRoot, 'node_modules')];

function* filesIn(folder: string, wanted: (name: string) => boolean): Generator<string, void, undefined> {
  let entries;
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch {
    return; // not on this machine
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesIn(path, wanted);
    else if (entry.isFile() && wanted(entry.name)) yield path;
  }
}

/** The files one after the other, at most so many bytes. */
function joined(files: Iterable<string>, most: number): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (const file of files) {
    if (length >= most) break;
    if (lstatSync(file).size > most) continue;
    const bytes = readFileSync(file);
    parts.push(bytes);
    length += bytes.length;
  }
  return Buffer.concat(parts).subarray(0, most);
}

/** The list of packages as one would get it from an interface for programs. */
function packagesAsJson(): Buffer {
  const packages = readFileSync(PACKAGES, 'utf8')
    .trim()
    .split('\n\n')
    .map((stanza) =>
      Object.fromEntries(
        stanza
          .split(/\n(?! )/)
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      ),
    );
  return Buffer.from(JSON.stringify(packages));
}

function pages(most: number): { bytes: Buffer; source: string } {
  for (const folder of PAGES) {
    const bytes = joined(
      filesIn(folder, (name) => name.endsWith('.html')),
      most,
    );
    if (bytes.length >= most / 8) return { bytes, source: `*.html in ${folder}` };
  }
  return { bytes: Buffer.alloc(0), source: 'no pages on this machine' };
}

/** At most `most` bytes of each; kinds that this machine has none of are left out. */
export function corpora(most: number): Corpus[] {
  const text = joined([...filesIn(LICENCES, () => true), PACKAGES], most);
  const random = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(most));
  return [
    { name: 'text', source: `${LICENCES} and ${PACKAGES}`, bytes: text },
    { name: 'JSON', source: `${PACKAGES} as JSON`, bytes: packagesAsJson().subarray(0, most) },
    { name: 'HTML', ...pages(most) },
    {
      name: 'binaries',
      source: PROGRAMS,
      bytes: joined(
        filesIn(PROGRAMS, () => true),
        most,
      ),
    },
    { name: 'incompressible', source: 'AES in counter mode', bytes: random },
  ].filter(({ bytes }) => bytes.length > 0);
}
