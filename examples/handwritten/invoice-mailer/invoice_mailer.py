"""Sends the invoices of a directory by mail, one message for each customer."""

import argparse
import csv
import smtplib
import sys
from email.message import EmailMessage
from pathlib import Path


def read_customers(path: Path) -> dict[str, str]:
    """Number and mail address of every customer."""
    with path.open(newline="", encoding="utf-8") as file:
        return {row["number"]: row["mail"] for row in csv.DictReader(file)}


def invoice_message(invoice: Path, mail: str, sender: str) -> EmailMessage:
    """One message with the invoice attached."""
    message = EmailMessage()
    message["Subject"] = f"Invoice {invoice.stem}"
    message["From"] = sender
    message["To"] = mail
    message.set_content("Dear customer,\n\nyour invoice is attached.\n")
    message.add_attachment(invoice.read_bytes(), maintype="application", subtype="pdf", filename=invoice.name)
    return message


def send_all(directory: Path, customers: dict[str, str], host: str, sender: str) -> int:
    """Send every invoice whose customer is known; give back how many were not."""
    unknown = 0
    with smtplib.SMTP(host, timeout=30) as server:
        server.starttls()
        for invoice in sorted(directory.glob("*.pdf")):
            number = invoice.stem.partition("-")[0]
            mail = customers.get(number)
            if mail is None:
                print(f"no customer for {invoice.name}", file=sys.stderr)
                unknown += 1
                continue
            server.send_message(invoice_message(invoice, mail, sender))
    return unknown


def main() -> int:
    """Read the arguments and send."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--customers", type=Path, required=True)
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--sender", required=True)
    arguments = parser.parse_args()
    unknown = send_all(arguments.directory, read_customers(arguments.customers), arguments.host, arguments.sender)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
