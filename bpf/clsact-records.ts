/**
 * What this machine's processes have put into clsact qdiscs, since a filter does not go with the process that put it there.
 *
 * ```
 *   <runtime directory>/clsact/<network namespace>-<interface>-<direction>-<priority>-<handle>   JSON, a {@link Note}
 * ```
 *
 * A note is locked as long as its process lives; one that nobody has locked is of a process that was killed, or has left its
 * filter to its successor. Where notes cannot be written there are none, and filters of a killed process stay.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { lockFile } from '../host/libc.js';
import { runtimeDirectory } from '../host/paths.js';

const DIRECTORY = join(runtimeDirectory, 'clsact');

/** Where a filter is. */
export interface FilterPlace {
  readonly ifindex: number;
  readonly direction: 'ingress' | 'egress';
  readonly priority: number;
  readonly handle: number;
}

/** What is known of a filter; numbers of programs are not used twice. */
export interface Note {
  readonly program: number;
  /** Who may succeed; empty: nobody, it goes with its process. */
  readonly owner: string;
  /** Its process made the qdisc. */
  readonly made: boolean;
}

export interface HeldNote {
  /** The filter is gone. */
  remove(): void;
  /** The filter stays, for a successor. */
  leave(): void;
}

/** The beginning of the names of all notes about one direction of an interface of this network namespace. */
function beginningOf({ ifindex, direction }: Pick<FilterPlace, 'ifindex' | 'direction'>): string {
  const [inode = ''] = /\d+/.exec(readlinkSync('/proc/thread-self/ns/net')) ?? [];
  return `${inode}-${ifindex}-${direction}-`;
}

/** Notes a filter that has just been attached. */
export function note(place: FilterPlace, what: Note): HeldNote {
  try {
    mkdirSync(DIRECTORY, { recursive: true, mode: 0o755 });
    const file = join(DIRECTORY, `${beginningOf(place)}${place.priority}-${place.handle}`);
    rmSync(file, { force: true }); // of a filter that somebody has deleted
    const fd = openSync(file, 'wx', 0o600);
    lockFile(fd);
    writeSync(fd, JSON.stringify(what));
    const leave = (): void => closeSync(fd);
    const remove = (): void => {
      rmSync(file, { force: true });
      leave();
    };
    return { remove, leave };
  } catch {
    return { remove: () => undefined, leave: () => undefined };
  }
}

/** A filter whose process is gone. */
export interface Abandoned {
  readonly place: FilterPlace;
  readonly note: Note;
}

/** Of a process that was killed while it wrote: it names no filter. */
const UNREADABLE: Note = { program: 0, owner: '', made: false };

/** `undefined` while its process lives. */
function read(file: string): Note | undefined {
  const fd = openSync(file, 'r');
  try {
    return lockFile(fd) ? (JSON.parse(readFileSync(fd, 'utf8')) as Note) : undefined;
  } catch {
    return UNREADABLE;
  } finally {
    closeSync(fd);
  }
}

/**
 * Goes through the filters of one direction whose process is gone; `takeAway` says whether the note has done its duty. Notes of
 * other places whose program `isGone` go, too: their interface or namespace has gone.
 */
export function sweepNotes(
  where: Pick<FilterPlace, 'ifindex' | 'direction'>,
  takeAway: (abandoned: Abandoned) => boolean,
  isGone: (program: number) => boolean,
): void {
  try {
    const beginning = beginningOf(where);
    for (const name of readdirSync(DIRECTORY)) {
      const file = join(DIRECTORY, name);
      const found = read(file);
      if (found === undefined) continue;
      const [priority = 0, handle = 0] = name.split('-').slice(-2).map(Number);
      const here = name.startsWith(beginning);
      const done = here
        ? takeAway({ place: { ...where, priority, handle }, note: found })
        : isGone(found.program);
      if (done) rmSync(file, { force: true });
    }
  } catch {
    // no notes, or none that can be read: the filters stay
  }
}
