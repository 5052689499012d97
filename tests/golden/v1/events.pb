
$ea3ae8a6-10ca-7983-a747-252165cc03e9"€÷ÄÕ*
courier	courier-12a-key:M
full-1annamain 2
€÷ÄÕÀ„=:€÷ÄÕXÜ`–œh´pÊ¬zRUB‚box‚filmˆ®
$ea3ae8a6-0dca-7983-a747-252165cc0038"	€÷ÄÕè*
operator
operator-12a-key:X
full-1annamain 2
€÷ÄÕÀ„=:€÷ÄÕB	€÷ÄÕèXÜ`–œh´pÊ¬zRUB‚box‚filmˆ¹
$ea3ae8a6-0eca-7983-a747-252165cc0173"	€÷ÄÕĞ*
customer
customer-12a-key:c
full-1annamain 2
€÷ÄÕÀ„=:€÷ÄÕB	€÷ÄÕèJ	€÷ÄÕĞXÜ`–œh´pÊ¬zRUB‚box‚filmˆÀ
$ea3ae8a6-13ca-7983-a747-252165cc079a"	€÷ÄÕ¸*
systemsystem-12a-key:n
full-1annamain 2
€÷ÄÕÀ„=:€÷ÄÕB	€÷ÄÕèJ	€÷ÄÕĞR	€÷ÄÕ¸XÜ`–œh´pÊ¬zRUB‚box‚filmˆƒ
$6c7b9c2c-f38e-71ad-83f6-b343e0730018"	€÷ÄÕN*
operator	anonymous:5
bare-1annamain 2
€÷ÄÕÀ„=:	€÷ÄÕNzRUBˆ
$6c7b9c2c-f68e-71ad-83f6-b343e07303c9"	€÷ÄÕøU*
operator	anonymous:@
bare-1annamain 2
€÷ÄÕÀ„=:	€÷ÄÕNB	€÷ÄÕøUzRUBˆ™
$6c7b9c2c-f58e-71ad-83f6-b343e073028e"	€÷ÄÕà]*
operator	anonymous:K
bare-1annamain 2
€÷ÄÕÀ„=:	€÷ÄÕNB	€÷ÄÕøUJ	€÷ÄÕà]zRUBˆ
$f35b3fbf-db8e-7825-8f58-72b473d014b8"
€÷ÄÕ€‰z*
operator	anonymous:A
bare-2annamain 2
€÷ÄÕÀ„=:	€÷ÄÕNR
€÷ÄÕ€‰zzRUBˆ