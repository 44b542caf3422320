/**
 * A network namespace of the test's own, for its main thread: BPF_PROG_TEST_RUN and every socket and `ip` command
 * that follows work in it, and it goes away with the last of them.
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { commandSync } from '../host/exec.js';

/** As on a real link; the 64 KiB that loopback has by default leave room for everything. */
export const LOOPBACK_MTU = 1500;

const CLONE_NEWNET = 0x40000000;
const libc = koffi.load('libc.so.6');
const unshare = libc.func('int unshare(int flags)') as (flags: number) => number;
const setns = libc.func('int setns(int fd, int type)') as (fd: number, type: number) => number;

/** Enters a fresh namespace with loopback up; the function returned goes back. */
export function enterNewNetworkNamespace(): () => void {
  const before = openSync('/proc/thread-self/ns/net', 'r');
  if (unshare(CLONE_NEWNET) !== 0) throw new Error(`unshare: errno ${koffi.errno()}; these tests need root`);
  commandSync('ip', ['link', 'set', 'lo', 'up', 'mtu', String(LOOPBACK_MTU)]);
  return () => {
    const failed = setns(before, CLONE_NEWNET) !== 0;
    closeSync(before);
    if (failed) throw new Error(`setns: errno ${koffi.errno()}`);
  };
}
