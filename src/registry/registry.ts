/** An IANA number space as data: names for code, and a name for every number a peer may send, known or not. */
export interface Registry<C extends Readonly<Record<string, number>>> {
  readonly name: string;
  readonly rfc: string;
  readonly code: C;
  /** `IKE_AUTH` for 35; `ExchangeType(99)` for a number without a name here. */
  nameOf(code: number): string;
  has(code: number): boolean;
}

/** `rfc` says where the numbers come from; `code` maps each name to its number. */
export function registry<const C extends Readonly<Record<string, number>>>(
  name: string,
  rfc: string,
  code: C,
): Registry<C> {
  const names = new Map(Object.entries(code).map(([text, number]) => [number, text]));
  return {
    name,
    rfc,
    code,
    nameOf: (number) => names.get(number) ?? `${name}(${number})`,
    has: (number) => names.has(number),
  };
}
