'use strict';
// Consume from one program as fast as CLIENTS connections can; print how often
// and how fast. `prepare` makes the limiter's table, with every account in it.
//
//     node consume.js prepare | quota | limiter  CLIENTS SECONDS ACCOUNTS
//
// libpq's environment variables say where the server is.

const { Pool } = require('pg');
const { RateLimiterPostgres } = require('rate-limiter-flexible');

const [mode, ...figures] = process.argv.slice(2);
const [clients, seconds, accounts] = figures.map(Number);
const pool = new Pool({ max: clients });

const MONTH_S = 30 * 24 * 3600;
const LIMITER = {
    storeClient: pool,
    tableName: 'limiter',
    keyPrefix: 'report',
    points: 1000000000,
    duration: MONTH_S,
    clearExpiredByTimeout: false,
};

const openLimiter = () => new Promise((resolve, reject) => {
    const limiter = new RateLimiterPostgres(LIMITER, (error) => {
        if (error) reject(error); else resolve(limiter);
    });
});

async function prepare() {
    await openLimiter();
    await pool.query(
        `INSERT INTO limiter SELECT 'report:' || 10000000000 + i, 1, $1 FROM generate_series(1, $2::int) i`,
        [Date.now() + MONTH_S * 1000, accounts]);
}

async function consumer() {
    if (mode === 'limiter') {
        const limiter = await openLimiter();
        return (account) => limiter.consume(account);
    }
    // What the limiter tells as well.
    return (account) => pool.query({
        name: 'consume',
        text: 'SELECT allowed, used, remaining, period_end FROM quota_consume($1, $2)',
        values: [account, 'report'],
    });
}

async function measure() {
    const consume = await consumer();
    const start = process.hrtime.bigint();
    const elapsed = () => Number(process.hrtime.bigint() - start) / 1e9;
    let transactions = 0;

    await Promise.all(Array.from({ length: clients }, async () => {
        while (elapsed() < seconds) {
            const account = 10000000001 + Math.floor(Math.random() * accounts);
            await consume(String(account));
            transactions++;
        }
    }));
    console.log(JSON.stringify({ transactions, tps: transactions / elapsed() }));
}

(mode === 'prepare' ? prepare() : measure()).then(() => pool.end());
