#!/bin/sh
# Sends this month's invoices; meant for cron.
set -eu
cd "$(dirname "$0")"
exec python3 invoice_mailer.py "invoices/$(date +%Y-%m)" --customers customers.csv --sender billing@example.com
