/** Relaying over transformed legs until there is nothing to transform any more, as with TLS. */
import type { Socket } from 'node:net';
import { TransformedLeg } from '../transcode/leg.js';
import { relay, type RelayOptions } from './relay.js';

/** Two sockets to go on with, and what has been read from them. */
export interface Joined {
  readonly client: Socket;
  readonly leg: Socket;
  readonly read: RelayOptions;
}

const isBare = (socket: Socket): boolean => !(socket instanceof TransformedLeg) || socket.bare;

/** Whether one of its ends has ended, or has been told to: then it is not worth while to change anything. */
const ends = (socket: Socket): boolean => socket.destroyed || socket.readableEnded || socket.writableEnded;

function unwrapped(socket: Socket): { readonly socket: Socket; readonly read?: Buffer | undefined } {
  const raw = socket instanceof TransformedLeg ? socket.unwrap() : undefined;
  return raw ?? { socket: socket.pause() };
}

/** What a frame stands for comes in the pieces that it was read in; what comes in one turn leaves in one write. */
function gather(from: Socket, to: Socket): void {
  if (!(from instanceof TransformedLeg) || to instanceof TransformedLeg) return;
  let corked = false;
  const uncork = (): void => {
    corked = false;
    to.uncork();
  };
  from.on('data', () => {
    if (corked) return;
    corked = true;
    to.cork();
    process.nextTick(uncork);
  });
}

/**
 * Relays to the end, or until both nodes at each transformed leg have ended its transforms: then the relay has let go of
 * the sockets that the legs were made of.
 */
export async function relayUntilBare(
  client: Socket,
  leg: Socket,
  read: RelayOptions,
): Promise<Joined | undefined> {
  const letGo = new AbortController();
  const bare = new Promise<Joined>((resolve) => {
    const look = (): void => {
      if (letGo.signal.aborted || ![client, leg].every((one) => isBare(one) && !ends(one))) return;
      letGo.abort();
      const [a, b] = [unwrapped(client), unwrapped(leg)];
      resolve({ client: a.socket, leg: b.socket, read: { fromA: a.read, fromB: b.read } });
    };
    for (const one of [client, leg]) if (one instanceof TransformedLeg) one.on('bare', look);
  });
  // Before the relay, which writes what it hears of.
  gather(client, leg);
  gather(leg, client);
  const relaying = relay(client, leg, { ...read, letGo: letGo.signal });
  return Promise.race([bare, relaying.then(() => undefined)]);
}
