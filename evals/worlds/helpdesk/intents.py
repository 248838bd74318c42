"""The help desk's first step: the things that people ask for, their words, and the policies that may hold."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """One plausible rule of the shop."""

    mark: str
    """Words by which an answer is recognised as stating this policy."""
    clauses: tuple[str, str]
    """Two ways to say it, both with the mark in them: to most people, and to those who greet."""


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing that people want. Which of its policies holds is hidden in the world."""

    name: str
    weight: int
    """Frequency of the intent, relative to the other intents."""
    phrasings: tuple[str, ...]
    policies: tuple[Policy, ...]


PRODUCTS = ("kettle", "desk lamp", "backpack", "headset", "rain jacket", "office chair", "toaster", "keyboard")
FRAMES = ("{}", "{} Thanks.", "Quick question: {}", "{} Please help.", "Can you help? {}", "{} What now?")
"""Frames in which every phrasing may come."""

INTENTS = (
    Intent(
        "return",
        4,
        (
            "I want to return the {product} from order {order}.",
            "How do I send back my {product}, order {order}?",
            "The {product} of {order} is not for me, I want a refund.",
            "Can I get my money back for order {order}?",
            "Order {order}: I no longer want the {product}.",
        ),
        (
            Policy("free within 45 days", ("returns are free within 45 days", "you return it free within 45 days")),
            Policy("a printed label", ("returns need a printed label", "send it back with a printed label")),
            Policy("any store desk", ("bring it back to any store desk", "returns go to any store desk")),
            Policy("store credit", ("returns are paid as store credit", "we refund it as store credit")),
        ),
    ),
    Intent(
        "late",
        4,
        (
            "My parcel {order} has not arrived.",
            "Where is my {product}? Order {order} is late.",
            "Order {order} should have been here last week.",
            "Still waiting for order {order}, the {product}.",
            "The delivery of {order} is overdue.",
        ),
        (
            Policy("resend it by courier", ("we resend it by courier today", "late parcels: we resend it by courier")),
            Policy("a tracing form", ("please fill in a tracing form", "late parcels need a tracing form")),
            Policy("wait three more days", ("please wait three more days", "kindly wait three more days")),
            Policy("shipping is refunded", ("your shipping is refunded", "the shipping is refunded for late parcels")),
        ),
    ),
    Intent(
        "cancel",
        3,
        (
            "Please cancel order {order}.",
            "I ordered the {product} by mistake, cancel {order}.",
            "Can I still cancel order {order}?",
            "Stop order {order}, I found a {product} elsewhere.",
            "I need to call off order {order}.",
        ),
        (
            Policy("until it is packed", ("you can cancel until it is packed", "cancelling works until it is packed")),
            Policy("refuse the parcel", ("simply refuse the parcel at the door", "to cancel, refuse the parcel")),
            Policy("a fee of 3 euros", ("cancelling costs a fee of 3 euros", "we cancel it for a fee of 3 euros")),
            Policy("cancelled at midnight", ("it will be cancelled at midnight", "orders are cancelled at midnight")),
        ),
    ),
    Intent(
        "address",
        3,
        (
            "I moved, please change the address of order {order}.",
            "Wrong address on order {order}, how do I fix it?",
            "Order {order} must go to my office instead.",
            "Can you deliver {order} to another address?",
            "The street on order {order} has a typo.",
        ),
        (
            Policy("in the courier app", ("change the address in the courier app", "you edit it in the courier app")),
            Policy("our evening team", ("our evening team changes the address", "it is changed by our evening team")),
            Policy(
                "order it again", ("addresses are fixed, please order it again", "please cancel and order it again")
            ),
            Policy("a photo of your lease", ("we need a photo of your lease", "please show a photo of your lease")),
        ),
    ),
    Intent(
        "invoice",
        3,
        (
            "I need an invoice for order {order}.",
            "Where can I find the bill of {order}?",
            "My company needs the receipt for the {product}, {order}.",
            "Please send the invoice of order {order} again.",
            "There was no bill in the box of order {order}.",
        ),
        (
            Policy("under My Documents", ("invoices are under My Documents", "you find the bill under My Documents")),
            Policy("by post on Mondays", ("invoices go out by post on Mondays", "the bill comes by post on Mondays")),
            Policy("inside the lid", ("the invoice is inside the lid", "look for the bill inside the lid")),
            Policy("the billing robot", ("ask the billing robot for invoices", "the billing robot sends the bill")),
        ),
    ),
    Intent(
        "warranty",
        3,
        (
            "My {product} from order {order} broke.",
            "The {product} of order {order} stopped working.",
            "Is the {product} of {order} under warranty?",
            "Order {order}: the {product} is defective.",
            "After a month the {product} is dead, order {order}.",
        ),
        (
            Policy("a new one for 3 years", ("you get a new one for 3 years", "we send a new one for 3 years")),
            Policy(
                "the maker repairs it", ("under warranty the maker repairs it", "please wait, the maker repairs it")
            ),
            Policy("a short video", ("send a short video of the fault", "we need a short video of the fault")),
            Policy("a mobile technician", ("we send a mobile technician", "a mobile technician will repair it")),
        ),
    ),
    Intent(
        "login",
        2,
        (
            "I cannot log in to see order {order}.",
            "My password does not work, I need order {order}.",
            "The site locked me out, my order is {order}.",
            "How do I get into my account? Order {order}.",
            "Login fails when I look up {order}.",
        ),
        (
            Policy("the blue reset link", ("use the blue reset link", "log in with the blue reset link")),
            Policy("a code by text", ("we send you a code by text", "you log in with a code by text")),
            Policy("after ten minutes", ("logins open again after ten minutes", "please retry after ten minutes")),
            Policy("the guest page", ("use the guest page instead", "you can see it on the guest page")),
        ),
    ),
    Intent(
        "exchange",
        2,
        (
            "I want to swap the {product} of order {order}.",
            "Wrong colour: can I exchange the {product}, {order}?",
            "Order {order}: I need another size.",
            "Can order {order} be exchanged for a different {product}?",
            "You sent the wrong {product} in {order}.",
        ),
        (
            Policy("at your front door", ("we swap it at your front door", "it is exchanged at your front door")),
            Policy("in the same box", ("send it in the same box to exchange it", "exchanges go in the same box")),
            Policy("once per order", ("exchanges are free once per order", "you may swap it once per order")),
            Policy("the swap counter", ("please visit the swap counter", "exchanges are done at the swap counter")),
        ),
    ),
    Intent(
        "price",
        2,
        (
            "The {product} of order {order} is cheaper elsewhere.",
            "Do you match prices? Order {order}.",
            "I paid too much for order {order}, it is on sale now.",
            "Another shop sells the {product} for less, order {order}.",
            "The price of the {product} dropped after order {order}.",
        ),
        (
            Policy("twice the difference", ("we pay twice the difference", "you get twice the difference back")),
            Policy("a voucher in May", ("you get a voucher in May", "for that we send a voucher in May")),
            Policy("prices are final", ("sorry, our prices are final", "after an order prices are final")),
            Policy("bonus points", ("we add bonus points to your account", "lower prices give you bonus points")),
        ),
    ),
    Intent(
        "pickup",
        2,
        (
            "Can I pick up order {order} myself?",
            "Where do I collect the {product}, order {order}?",
            "I want to fetch order {order} at the shop.",
            "Is {order} ready for collection?",
            "When can somebody collect order {order} for me?",
        ),
        (
            Policy("at gate 7 from noon", ("pick it up at gate 7 from noon", "it is ready at gate 7 from noon")),
            Policy("the orange locker", ("it waits in the orange locker", "collect it from the orange locker")),
            Policy("with a passport", ("you can collect it with a passport", "pick it up with a passport")),
            Policy("at the corner bakery", ("it is at the corner bakery", "collect it at the corner bakery")),
        ),
    ),
)
