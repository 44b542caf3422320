/** A program that is attached to something. */
export interface Attachment {
  readonly kind: 'cgroup' | 'tcx' | 'clsact';
  /** Detaches and removes the pin. Never throws: what it detaches from may be gone already. */
  detach(): void;
  /** Lets go of it and leaves it attached; a link stays only by its pin. */
  leave(): void;
}
