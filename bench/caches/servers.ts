/** The caches that a node is compared with, each set up for one processor, stored responses in memory, no logs. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { STORE_MIBIBYTES, type CachePeer, type CacheSiteFacts } from './peer.js';

export function nginxCacheConfig({ directory, store, origin }: Omit<CacheSiteFacts, 'host'>): string {
  return `user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${join(directory, 'nginx.pid')};
error_log ${join(directory, 'nginx-error.log')};
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  proxy_temp_path ${join(store, 'temporary')};
  proxy_cache_path ${join(store, 'stored')} levels=1:2 keys_zone=z:256m max_size=${STORE_MIBIBYTES}m inactive=10h use_temp_path=off;
  upstream origin { server ${origin}:80; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 80 backlog=4096;
    location / {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_cache z;
      add_header X-Cache $upstream_cache_status;
    }
  }
}
`;
}

export function squidConfig({ directory, origin }: Omit<CacheSiteFacts, 'host'>): string {
  return `http_port 80 accel no-vhost defaultsite=www.example.test
cache_peer ${origin} parent 80 0 no-query originserver name=origin
http_access allow all
cache_peer_access origin allow all
never_direct allow all
cache_mem ${STORE_MIBIBYTES} MB
maximum_object_size_in_memory 8 MB
maximum_object_size 8 MB
memory_cache_mode always
max_filedescriptors 16384
access_log none
cache_store_log none
cache_log ${join(directory, 'squid-cache.log')}
pid_filename ${join(directory, 'squid.pid')}
coredump_dir ${directory}
visible_hostname bench
shutdown_lifetime 0 seconds
workers 1
pinger_enable off
`;
}

/** Threads as for one processor. */
export function trafficServerRecords(): string {
  return `CONFIG proxy.config.http.server_ports STRING 80
CONFIG proxy.config.exec_thread.autoconfig.enabled INT 0
CONFIG proxy.config.exec_thread.limit INT 1
CONFIG proxy.config.accept_threads INT 0
CONFIG proxy.config.task_threads INT 1
CONFIG proxy.config.cache.threads_per_disk INT 1
CONFIG proxy.config.admin.user_id STRING trafficserver
CONFIG proxy.config.cache.ram_cache.size INT ${STORE_MIBIBYTES}M
CONFIG proxy.config.cache.ram_cache_cutoff INT 8388608
CONFIG proxy.config.log.logging_enabled INT 0
CONFIG proxy.config.diags.debug.enabled INT 0
CONFIG proxy.config.reverse_proxy.enabled INT 1
CONFIG proxy.config.url_remap.remap_required INT 1
CONFIG proxy.config.url_remap.pristine_host_hdr INT 1
CONFIG proxy.config.http.cache.http INT 1
CONFIG proxy.config.http.cache.required_headers INT 2
CONFIG proxy.config.http.insert_age_in_response INT 1
`;
}

const nginx: CachePeer = {
  name: 'nginx',
  title: 'nginx proxy_cache',
  packages: ['nginx'],
  addressed: true,
  start: async (site) => {
    const file = join(site.directory, 'nginx.conf');
    writeFileSync(file, nginxCacheConfig(site));
    const args = ['-p', site.directory, '-c', file, '-e', join(site.directory, 'nginx-start.log')];
    const program = site.host.spawn('nginx', args);
    await program.listening(80);
    return program;
  },
};

const varnish: CachePeer = {
  name: 'varnish',
  title: 'Varnish',
  packages: ['varnish', 'gcc', 'libc6-dev'],
  addressed: true,
  start: async ({ host, directory, origin }) => {
    const pools = ['thread_pools=1', 'thread_pool_min=100', 'thread_pool_max=500'].flatMap((one) => [
      '-p',
      one,
    ]);
    const args = ['-F', '-a', ':80', '-b', `${origin}:80`, '-s', `malloc,${STORE_MIBIBYTES}m`];
    const jail = ['-j', 'none', '-n', join(directory, 'varnish'), '-T', 'none'];
    const program = host.spawn('varnishd', [...jail, ...args, ...pools]);
    await program.listening(80, { timeoutMs: 60_000 });
    return program;
  },
};

const squid: CachePeer = {
  name: 'squid',
  title: 'Squid',
  packages: ['squid'],
  addressed: true,
  start: async (site) => {
    const directory = join(site.directory, 'squid');
    mkdirSync(directory);
    chmodSync(directory, 0o777); // it gives its privileges up
    const file = join(directory, 'squid.conf');
    writeFileSync(file, squidConfig({ ...site, directory }));
    const program = site.host.spawn('squid', ['-N', '-f', file]);
    await program.listening(80);
    return program;
  },
};

const RUN_ROOT = {
  exec_prefix: '/usr',
  bindir: '/usr/bin',
  sbindir: '/usr/sbin',
  datadir: '/usr/share/trafficserver',
  includedir: '/usr/include',
  libdir: '/usr/lib/trafficserver',
  libexecdir: '/usr/lib/trafficserver/modules',
  mandir: '/usr/share/man',
  infodir: '/usr/share/info',
};

const trafficServer: CachePeer = {
  name: 'trafficserver',
  title: 'Traffic Server',
  packages: ['trafficserver'],
  addressed: true,
  start: async ({ host, directory, store, origin }) => {
    const root = join(directory, 'ats');
    const own = {
      sysconfdir: 'etc',
      localstatedir: 'var',
      runtimedir: 'run',
      logdir: 'log',
      cachedir: 'cache',
    };
    const places = Object.entries(own).map(([name, folder]) => [name, join(root, folder)] as const);
    for (const [, folder] of places) mkdirSync(folder, { recursive: true });
    const all = [['prefix', root] as const, ...Object.entries(RUN_ROOT), ...places];
    writeFileSync(join(root, 'runroot.yaml'), all.map(([name, path]) => `${name}: ${path}\n`).join(''));
    for (const folder of [root, store, ...places.map(([, one]) => one)]) chmodSync(folder, 0o777); // it is not root
    const etc = join(root, own.sysconfdir);
    const allow = 'ip_allow:\n  - { apply: in, ip_addrs: 0/0, action: allow, methods: ALL }\n';
    const files = {
      'ip_allow.yaml': allow,
      'records.config': trafficServerRecords(),
      'remap.config': `map http://www.example.test/ http://${origin}/\n`,
      'storage.config': `${store} ${STORE_MIBIBYTES}M\n`,
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(etc, name), text);
    const program = host.spawn('traffic_server', [`--run-root=${join(root, 'runroot.yaml')}`]);
    await program.listening(80, { timeoutMs: 60_000 });
    return program;
  },
};

/** The first is what the others are compared with. */
export const cacheServers: readonly CachePeer[] = [nginx, varnish, squid, trafficServer];
