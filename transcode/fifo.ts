/** First in, first out; taking one takes the same time however long the line is. */
export class Fifo<T> {
  #items: T[] = [];
  #first = 0;

  get length(): number {
    return this.#items.length - this.#first;
  }

  get first(): T | undefined {
    return this.#items[this.#first];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#first];
    if (item === undefined) return undefined;
    this.#first++;
    if (2 * this.#first < this.#items.length) return item;
    this.#items = this.#items.slice(this.#first);
    this.#first = 0;
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#first = 0;
  }
}
