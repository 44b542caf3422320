/** What this project uses of the `cap` package (https://github.com/mscdex/cap), which ships no declarations. */
declare module 'cap' {
  interface Decoded<Info> {
    readonly info: Info;
    /** Where the next header starts. */
    readonly offset: number;
  }

  type Decoder<Info> = (buffer: Buffer, offset?: number) => Decoded<Info>;

  /** Names by number and numbers by name. */
  type Registry = Readonly<Record<string, number>> & Readonly<Record<number, string>>;

  interface Capturing {
    /** Starts a capture; gives the link type, `ETHERNET` for Ethernet. Throws when libpcap refuses. */
    open(device: string, filter: string, bufferSize: number, buffer: Buffer): string;
    close(): boolean;
    on(event: 'packet', listener: (length: number, truncated: boolean) => void): this;
  }

  const addon: {
    readonly Cap: new () => Capturing;
    readonly decoders: {
      readonly Ethernet: Decoder<{ readonly type: number | undefined }>;
      readonly IPV4: Decoder<{ readonly protocol: number }>;
      readonly IPV6: Decoder<{ readonly protocol: number }>;
      readonly PROTOCOL: { readonly ETHERNET: Registry; readonly IP: Registry };
    };
  };
  export default addon;
}
