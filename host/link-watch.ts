import { close, drainSocket, linkEventSocket } from './libc.js';

const PERIOD_MS = 1000;

/**
 * Calls back soon after an interface or address of this network namespace has come, gone or changed. One
 * non-blocking read a second costs nothing, where a child process (`ip monitor`) would outlive a `kill -9`.
 */
export function watchLinks(changed: () => void): { stop(): void } {
  const fd = linkEventSocket();
  const timer = setInterval(() => {
    if (drainSocket(fd)) changed();
  }, PERIOD_MS);
  timer.unref();
  return {
    stop: () => {
      clearInterval(timer);
      close(fd);
    },
  };
}
