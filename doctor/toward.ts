/** The path to one destination, tried with a real connection: does the option survive, does the tunnel pass? */
import { setTimeout as delay } from 'node:timers/promises';
import { formatIp, type IpAddress } from '../core/address.js';
import { Prober, type Probe, type ProbeAnswer } from '../client-shim/prober.js';
import type { Key } from '../tpot/key.js';
import { CAPABILITY } from '../tpot/option.js';
import { UDP_TUNNEL_PORT } from '../wire/udp-tunnel.js';
import { fail, ok, warn, type Check } from './check.js';

/** A segment that got through is acknowledged within a round trip; the shim gives a tunnel up after about 3 s. */
const TUNNEL_TIMEOUT_MS = 5000;
const POLL_MS = 20;
const NO_PROXY = 'Connections to there work without nodes.';

const took = ({ milliseconds }: ProbeAnswer): string => `${(milliseconds ?? 0).toFixed(1)} ms`;

function checkConnect(answer: ProbeAnswer): Check {
  const { asked, error } = answer;
  if (error === undefined) return ok('toward-connect', `connected in ${took(answer)}`);
  if (error === 'timeout') {
    return fail(
      'toward-connect',
      'no answer, neither with the request nor without',
      'Check route and destination.',
    );
  }
  const said = error === 'ECONNREFUSED' ? 'the connection was refused' : `the connection failed: ${error}`;
  if (!asked)
    return fail('toward-connect', `${said}, without a request`, 'Name a destination on another machine.');
  return fail('toward-connect', said, 'Name a port on which something listens, and check the route.');
}

/** Of a connection that stands. */
export function checkOption(answer: ProbeAnswer): Check {
  const name = 'toward-option';
  if (answer.node !== undefined) {
    return ok(name, `the SYN with the request was answered by the node ${formatIp(answer.node)}`);
  }
  switch (answer.reason) {
    case 'reply-none':
      return warn(
        name,
        'the SYN with the request was answered, without a reply: no node takes it, or replies are stripped',
        'Start a node on the path; where there is one, capture the SYN-ACK on both sides of what may strip it.',
      );
    case 'request-omitted-retries':
      return fail(
        name,
        'two SYNs with the request were not answered, one without was: something on the path drops the option, or a node drops what it takes',
        `Let TCP option 253 pass; run doctor on the nodes there, whose packet filter may keep their own connections out. ${NO_PROXY}`,
      );
    case 'request-omitted-untrusted':
      return fail(
        name,
        'a reply came whose address no tunnel can lead to',
        `Check the node's address. ${NO_PROXY}`,
      );
    case 'drop-reply-unkeyed':
      return fail(
        name,
        'a reply came without a right MAC: somebody on the path forges replies, or changes packets',
        `Look for who answers, and for NAT on the path. ${NO_PROXY}`,
      );
    case 'request-omitted-keyed':
      return warn(name, 'no request was sent: with keys, none is over IPv6', 'Name an IPv4 address.');
    default:
      return warn(name, `no request was sent: ${answer.reason}`, 'Name a destination on another machine.');
  }
}

/** Ends our direction, in the tunnel, and waits until the node has heard of it. */
async function isHeard(probe: Probe, isBlocked: () => boolean): Promise<boolean> {
  const { socket } = probe;
  socket.resume().end();
  const deadline = performance.now() + TUNNEL_TIMEOUT_MS;
  while (performance.now() < deadline && !isBlocked()) {
    // Whatever the node says on an established connection, it says because our ACK has reached it.
    if (socket.readableEnded || socket.destroyed || probe.finAcknowledged()) return !isBlocked();
    await delay(POLL_MS);
  }
  return false;
}

/** `counters` are those of the one probe there was. */
function judgeTunnel(node: IpAddress, heard: boolean, counters: Readonly<Record<string, number>>): Check {
  const name = 'toward-tunnel';
  const protocol = `IP protocol ${node.family === 4 ? 4 : 41}`;
  const inUdp = (counters['tunnel-udp'] ?? 0) > 0;
  if (heard && !inUdp)
    return ok(name, `${formatIp(node)} acknowledges what comes through its tunnel (${protocol})`);
  if (heard) {
    return warn(
      name,
      `${protocol} does not pass to ${formatIp(node)}, UDP does: tunnels go on in UDP (port ${UDP_TUNNEL_PORT} by default)`,
      `Let ${protocol} pass from here to ${formatIp(node)}: first connections then need not try it in vain.`,
    );
  }
  const filtered = inUdp ? `${protocol} is filtered, and so is UDP` : `${protocol} is filtered`;
  return fail(
    name,
    `${formatIp(node)} does not acknowledge what is sent through its tunnel: ${filtered}`,
    `Let ${protocol} or UDP port ${UDP_TUNNEL_PORT} (the node\'s udpEncapsulation) pass from here to ${formatIp(node)}. ${NO_PROXY}`,
  );
}

async function checkTunnel(probe: Probe, node: IpAddress, prober: Prober): Promise<Check> {
  const heard = await isHeard(probe, () => (prober.counters()['tunnel-blocked'] ?? 0) > 0);
  return judgeTunnel(node, heard, prober.counters());
}

/** A trace request for the first node (protocol rule 11): it opens no connection to the destination. */
export async function checkToward(
  target: { readonly address: IpAddress; readonly port: number },
  keys: readonly Key[],
): Promise<Check[]> {
  const prober = new Prober(keys);
  try {
    const probe = await prober.open({ ...target, hops: 1, capabilities: CAPABILITY.trace });
    const { answer } = probe;
    const checks = [checkConnect(answer)];
    if (answer.error === undefined) {
      checks.push(checkOption(answer));
      if (answer.node !== undefined) checks.push(await checkTunnel(probe, answer.node, prober));
    }
    probe.reset();
    await prober.drained();
    return checks;
  } finally {
    prober.close();
  }
}
