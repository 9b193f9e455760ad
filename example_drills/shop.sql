--
-- PostgreSQL database dump
--

-- Dumped from database version 15.18
-- Dumped by pg_dump version 15.18

-- Started on {began}

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.customers (
    id integer NOT NULL,
    name text NOT NULL
);

CREATE TABLE public.orders (
    id integer NOT NULL,
    customer integer NOT NULL,
    what text NOT NULL,
    pence integer NOT NULL
);

CREATE SEQUENCE public.orders_id_seq AS integer;

ALTER SEQUENCE public.orders_id_seq OWNED BY public.orders.id;

ALTER TABLE ONLY public.orders ALTER COLUMN id SET DEFAULT nextval('public.orders_id_seq'::regclass);

COPY public.customers (id, name) FROM stdin;
1	Ada
2	Grace
\.

COPY public.orders (id, customer, what, pence) FROM stdin;
1	1	two pumps	12900
2	2	one valve	1850
3	1	a gasket	275
4	2	three hoses	4410
5	1	one valve	1850
\.

SELECT pg_catalog.setval('public.orders_id_seq', 5, true);

ALTER TABLE ONLY public.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.orders
    ADD CONSTRAINT orders_customer_fkey FOREIGN KEY (customer) REFERENCES public.customers(id);

--
-- PostgreSQL database dump complete
--

