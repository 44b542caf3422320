/** Keeps the programs attached to the interfaces that are wanted, those that appear later included. */
import type { IpAddress } from '../core/address.js';
import type { Logger } from '../core/log.js';
import { messageOf } from '../core/errors.js';
import { watchLinks } from '../host/link-watch.js';
import { listInterfaces, type NetworkInterface } from '../host/interfaces.js';
import type { Attachment } from './attach.js';
import type { TpotPrograms } from './programs.js';

interface Attached {
  readonly name: string;
  readonly attachments: readonly Attachment[];
}

export class InterfaceSet {
  readonly #programs: TpotPrograms;
  readonly #wanted: readonly string[] | undefined;
  readonly #announced: readonly IpAddress[];
  readonly #logger: Logger;
  readonly #attached = new Map<number, Attached>();
  readonly #watch: { stop(): void };

  /**
   * `wanted` undefined means every non-loopback interface; `announced` counts as this machine's own even where no
   * interface has it. Attaches at once, to all of them or, when that fails, to none.
   */
  constructor(
    programs: TpotPrograms,
    wanted: readonly string[] | undefined,
    announced: readonly IpAddress[],
    logger: Logger,
  ) {
    this.#programs = programs;
    this.#wanted = wanted;
    this.#announced = announced;
    this.#logger = logger;
    try {
      this.refresh();
      this.#watch = watchLinks(() => {
        try {
          this.refresh();
        } catch (error) {
          logger.warn('interfaces-not-refreshed', { error: messageOf(error) });
        }
      });
    } catch (error) {
      this.#detachAll();
      throw error;
    }
  }

  names(): string[] {
    return [...this.#attached.values()].map((entry) => entry.name);
  }

  refresh(): void {
    const present = listInterfaces();
    this.#programs.setOwnAddresses([...this.#announced, ...present.flatMap((entry) => entry.addresses)]);
    for (const [index, entry] of this.#attached) {
      if (!present.some((candidate) => candidate.index === index)) this.#detach(index, entry);
    }
    for (const candidate of present) {
      if (this.#wants(candidate) && !this.#attached.has(candidate.index)) this.#attach(candidate);
    }
  }

  /** With `leaveAttached` the programs go on working without this process. */
  close({ leaveAttached = false } = {}): void {
    this.#watch.stop();
    if (!leaveAttached) this.#detachAll();
    else for (const { attachments } of this.#attached.values()) for (const one of attachments) one.leave();
  }

  #wants(candidate: NetworkInterface): boolean {
    return !candidate.loopback && (this.#wanted === undefined || this.#wanted.includes(candidate.name));
  }

  #attach(target: NetworkInterface): void {
    const attachments = this.#programs.attachInterface(target);
    if (attachments.length === 0) return;
    this.#attached.set(target.index, { name: target.name, attachments });
    this.#logger.info('interface-attached', { interface: target.name, link: attachments[0]?.kind });
  }

  #detachAll(): void {
    for (const [index, entry] of this.#attached) this.#detach(index, entry);
  }

  #detach(index: number, entry: Attached): void {
    for (const attachment of entry.attachments) attachment.detach();
    this.#attached.delete(index);
    this.#logger.info('interface-detached', { interface: entry.name });
  }
}
