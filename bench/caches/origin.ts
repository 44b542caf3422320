/** The origin of the cache bench: nginx, which answers at once and lets everything be stored for hours. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Host } from '../../netns/host.js';
import { command } from '../../host/exec.js';

export const ORIGIN_PACKAGE = 'nginx';
const LIFETIME_SECONDS = 36_000;
const KIBI = 1024;

/** Bytes by path. */
export const OBJECTS: Readonly<Record<string, number>> = {
  '/1k': KIBI,
  '/64k': 64 * KIBI,
  '/1m': KIBI * KIBI,
};
/** Below it everything is there, {@link MISS_BYTES} long. */
export const MISS_PREFIX = '/miss/';
export const MISS_BYTES = KIBI;

function configOf(directory: string): string {
  return `daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${join(directory, 'origin.pid')};
error_log ${join(directory, 'origin-error.log')};
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  server {
    listen 80 backlog=4096;
    root ${join(directory, 'objects')};
    add_header Cache-Control "public, max-age=${LIFETIME_SECONDS}";
    location ${MISS_PREFIX} { return 200 "${'m'.repeat(MISS_BYTES)}"; }
    location = /asked { stub_status; }
  }
}
`;
}

export class HttpOrigin {
  readonly #host: Host;

  private constructor(host: Host) {
    this.#host = host;
  }

  static async start(host: Host, directory: string, core: number | undefined): Promise<HttpOrigin> {
    const objects = join(directory, 'objects');
    mkdirSync(objects);
    for (const [path, bytes] of Object.entries(OBJECTS))
      writeFileSync(join(objects, path), Buffer.alloc(bytes, 'o'));
    // Its worker is not root.
    chmodSync(directory, 0o755);
    const file = join(directory, 'origin.conf');
    writeFileSync(file, configOf(directory));
    const args = ['-p', directory, '-c', file, '-e', join(directory, 'origin-start.log')];
    const program = host.spawn('nginx', args, { label: 'origin' });
    await program.listening(80);
    if (core !== undefined) await command('taskset', ['-acp', String(core), String(program.pid)]);
    return new HttpOrigin(host);
  }

  /** Requests it has been asked so far. */
  async asked(): Promise<number> {
    const text = await this.#host.must('curl', ['-s', 'http://127.0.0.1/asked']);
    return Number(/^ *\d+ +\d+ +(\d+) *$/m.exec(text)?.[1] ?? NaN);
  }
}
