// What Prometheus answers to the dashboard's queries.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { until } from "../../browser/lib/tab.mjs";

/** Milliseconds until Prometheus has scraped often enough for a rate: twice, with 10 s in between, and once in vain before the server listens. */
const SCRAPED = 45_000;
/** What Grafana takes for this scrape interval: four of them. */
const RATE_INTERVAL = "40s";

export class Prometheus {
  #engine;
  #url;

  /** The one at `port` of the machine's loopback. */
  constructor(engine, port) {
    this.#engine = engine;
    this.#url = `http://127.0.0.1:${port}/api/v1/query`;
  }

  /** The results of a query. */
  async query(expression) {
    const said = await this.#engine.run("curl", ["-fsS", "--get", "--data-urlencode", `query=${expression}`, this.#url]);
    const { status, data } = JSON.parse(said);
    if (status !== "success") throw new Error(`${expression}: ${said}`);
    return data.result;
  }

  /** Waits until the server has been scraped from now on; what was scraped of one before it is kept. */
  scrapes() {
    const since = Date.now() / 1_000;
    const scraped = `timestamp(up{job="switchyard"}) > ${since} and up{job="switchyard"} == 1`;
    return until("Prometheus scrapes the server", async () => (await this.query(scraped)).length === 1, SCRAPED);
  }

  /** Asks every panel's query of the dashboard until each was answered: the queries, and those that stayed without an answer. */
  async panels() {
    const { panels } = JSON.parse(await readFile(join(this.#engine.checkout, "deploy/grafana-dashboard.json"), "utf8"));
    const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr.replaceAll("$__rate_interval", RATE_INTERVAL)));
    let silent = expressions;
    const answered = async () => {
      const results = await Promise.all(silent.map((expression) => this.query(expression)));
      silent = silent.filter((_, at) => results[at].length === 0);
      return silent.length === 0;
    };
    // What there is no rate of yet, there is after two more scrapes.
    await until("every query is answered", answered, SCRAPED).catch(() => {});
    return { expressions, silent };
  }
}
