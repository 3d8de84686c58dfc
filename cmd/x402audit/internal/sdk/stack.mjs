// The x402 SDK at work on one development chain: facilitators, a resource server and a paying client.
//
// The first line of stdin is a JSON object:
//   rpc           URL of the chain
//   dir           directory of the logs
//   facilitators  [{name, key, rpc?, confirmationTimeoutMs?}]
//   routes        [{path, version: 1|2, payTo, amount, facilitator, description?}]
//   serverTimeoutMs  how long the resource server waits for a facilitator (v2 only; default the SDK's)
// It answers with one line on stdout, {ready: {facilitators: {name: url}, server: url}}, and then takes
// commands, one JSON object a line, and answers each with {id, result} or {id, error}:
//   {id, pay: {url, key, version, hold}}   pay for url; with hold, sign but do not send the payment
// It ends when stdin does.
//
// Logs, in dir, one JSON object a line:
//   facilitator-<name>.jsonl  the hook contexts of x402Facilitator
//   server.jsonl              the hook contexts of x402ResourceServer (v2 only: v1 has no hooks)
//   access.jsonl              one record a request of the resource server, both versions
import { appendFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import express from "express";
import { createPublicClient, createWalletClient, http, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { base } from "viem/chains";
import { x402Facilitator } from "@x402/core/facilitator";
import { HTTPFacilitatorClient } from "@x402/core/server";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { ExactEvmScheme as FacilitatorScheme } from "@x402/evm/exact/facilitator";
import { ExactEvmSchemeV1 as FacilitatorSchemeV1 } from "@x402/evm/exact/v1/facilitator";
import { ExactEvmScheme as ServerScheme } from "@x402/evm/exact/server";
import { registerExactEvmScheme } from "@x402/evm/exact/client";
import { paymentMiddleware, x402ResourceServer } from "@x402/express";
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { paymentMiddleware as paymentMiddlewareV1 } from "x402-express";
import { createSigner, wrapFetchWithPayment as wrapFetchWithPaymentV1 } from "x402-fetch";
import { selectPaymentRequirements } from "x402/client";

const NETWORK = "eip155:8453";
const NETWORK_V1 = "base";
const USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";
const DOMAIN = { name: "USD Coin", version: "2" };

const commands = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const options = JSON.parse((await commands.next()).value);

// JSON has no bigints and shows an Error as {}; a log that is to be of use says what it was.
function plain(_, value) {
  if (typeof value === "bigint") return value.toString();
  if (value instanceof Error) return { name: value.name, message: value.message, ...value };
  return value;
}

function logger(file) {
  const path = join(options.dir, file);
  appendFileSync(path, "");
  return (record) => appendFileSync(path, JSON.stringify({ ts: new Date().toISOString(), ...record }, plain) + "\n");
}

function listen(app) {
  return new Promise((resolve, reject) => {
    const server = app.listen(0, "127.0.0.1", (error) =>
      error ? reject(error) : resolve(`http://127.0.0.1:${server.address().port}`),
    );
  });
}

async function startFacilitator({ name, key, rpc = options.rpc, confirmationTimeoutMs = 10_000 }) {
  const account = privateKeyToAccount(key);
  const wallet = createWalletClient({
    account,
    chain: base,
    transport: http(rpc),
    pollingInterval: 20,
    cacheTime: 0,
  }).extend(publicActions);
  const signer = toFacilitatorEvmSigner(
    {
      address: account.address,
      getCode: (args) => wallet.getCode(args),
      readContract: (args) => wallet.readContract({ ...args, args: args.args ?? [] }),
      verifyTypedData: (args) => wallet.verifyTypedData(args),
      writeContract: (args) => wallet.writeContract({ ...args, args: args.args ?? [] }),
      sendTransaction: (args) => wallet.sendTransaction(args),
      waitForTransactionReceipt: (args) => wallet.waitForTransactionReceipt(args),
    },
    { confirmationTimeoutMs },
  );

  const log = logger(`facilitator-${name}.jsonl`);
  const record = (hook) => async (context) => log({ hook, ...context });
  const facilitator = new x402Facilitator()
    .register(NETWORK, new FacilitatorScheme(signer))
    .registerV1(NETWORK_V1, new FacilitatorSchemeV1(signer))
    .onAfterVerify(record("onAfterVerify"))
    .onVerifyFailure(record("onVerifyFailure"))
    .onAfterSettle(record("onAfterSettle"))
    .onSettleFailure(record("onSettleFailure"));

  const app = express();
  app.use(express.json({ limit: "1mb" }));
  for (const action of ["verify", "settle"]) {
    app.post(`/${action}`, async (req, res) => {
      const { paymentPayload, paymentRequirements } = req.body;
      try {
        res.json(await facilitator[action](paymentPayload, paymentRequirements));
      } catch (error) {
        res.status(500).json({ error: error.message });
      }
    });
  }
  app.get("/supported", (_, res) => res.json(facilitator.getSupported()));
  return listen(app);
}

// The request's part of a hook's transport context that can be written down: the adapter holds sockets.
function writable({ transportContext, ...context }) {
  const request = transportContext?.request;
  if (!request) return context;
  const { adapter, ...rest } = request;
  return { ...context, transportContext: { request: { ...rest, url: adapter.getUrl() } } };
}

async function startServer(facilitators) {
  const app = express();
  const access = logger("access.jsonl");
  app.use((req, res, next) => {
    const began = performance.now();
    res.on("finish", () =>
      access({
        method: req.method,
        url: `${req.protocol}://${req.headers.host}${req.originalUrl}`,
        status: res.statusCode,
        duration_ms: Math.round(performance.now() - began),
        x_payment: req.header("x-payment"),
        payment_signature: req.header("payment-signature"),
        x_payment_response: res.getHeader("x-payment-response"),
        payment_response: res.getHeader("payment-response"),
      }),
    );
    next();
  });

  const log = logger("server.jsonl");
  const record = (hook) => async (context) => log({ hook, ...writable(context) });
  for (const [name, url] of Object.entries(facilitators)) {
    const routes = options.routes.filter((route) => route.facilitator === name);

    const server = new x402ResourceServer(new HTTPFacilitatorClient({ url, timeoutMs: options.serverTimeoutMs }))
      .register(NETWORK, new ServerScheme())
      .onAfterSettle(record("onAfterSettle"))
      .onSettleFailure(record("onSettleFailure"))
      .onVerifiedPaymentCanceled(record("onVerifiedPaymentCanceled"));
    const v2 = routes.filter((route) => route.version === 2);
    if (v2.length > 0) {
      const configuration = v2.map(({ path, payTo, amount, description }) => [
        `GET ${path}`,
        {
          accepts: {
            scheme: "exact",
            network: NETWORK,
            payTo,
            price: { asset: USDC, amount, extra: DOMAIN },
          },
          description,
          mimeType: "application/json",
        },
      ]);
      app.use(paymentMiddleware(Object.fromEntries(configuration), server));
    }

    for (const { path, payTo, amount, description } of routes.filter((r) => r.version === 1)) {
      const price = { amount, asset: { address: USDC, decimals: 6, eip712: DOMAIN } };
      const config = { description, mimeType: "application/json" };
      app.use(paymentMiddlewareV1(payTo, { [`GET ${path}`]: { price, network: NETWORK_V1, config } }, { url }));
    }
  }

  // ?fail=1 lets the handler fail after the payment was verified: the SDK then does not settle.
  for (const { path } of options.routes) {
    app.get(path, (req, res) => (req.query.fail ? res.status(500).json({ error: "failed" }) : res.json({ path })));
  }
  return listen(app);
}

async function pay({ url, key, version, hold }) {
  // What the client signed, seen where it leaves: the request that carries a payment header.
  let sent;
  const watch = async (input, init) => {
    const request = new Request(input, init);
    const header = request.headers.get("payment-signature") ?? request.headers.get("x-payment");
    if (!header) return fetch(request);
    sent = header;
    return hold ? new Response(null, { status: 204 }) : fetch(request);
  };

  let requirements;
  let paid;
  if (version === 1) {
    const signer = await createSigner(NETWORK_V1, key);
    const select = (...args) => (requirements = selectPaymentRequirements(...args));
    paid = wrapFetchWithPaymentV1(watch, signer, BigInt(Number.MAX_SAFE_INTEGER), select);
  } else {
    const client = new x402Client().setSpendControls(false);
    registerExactEvmScheme(client, { signer: privateKeyToAccount(key) });
    client.onAfterPaymentCreation(async (context) => {
      requirements = context.selectedRequirements;
    });
    paid = wrapFetchWithPayment(watch, client);
  }

  const response = await paid(url);
  const settled = response.headers.get("payment-response") ?? response.headers.get("x-payment-response");
  const decode = (header) => (header ? JSON.parse(Buffer.from(header, "base64").toString("utf8")) : undefined);
  return {
    status: response.status,
    body: await response.text(),
    header: sent,
    payload: decode(sent),
    requirements,
    response: decode(settled),
  };
}

const facilitators = {};
for (const facilitator of options.facilitators) {
  facilitators[facilitator.name] = await startFacilitator(facilitator);
}
const server = await startServer(facilitators);

function answer(line) {
  process.stdout.write(JSON.stringify(line, plain) + "\n");
}

async function run({ id, pay: payment }) {
  try {
    answer({ id, result: await pay(payment) });
  } catch (error) {
    answer({ id, error: error.message });
  }
}

answer({ ready: { facilitators, server } });
for await (const line of commands) run(JSON.parse(line)); // several at a time
process.exit(0);
