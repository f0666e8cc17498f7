/* The languages: stop words, month names, time words, openings of questions about time. Lists are compact on purpose: they hold
 * what carries no meaning in a question, nothing that could be somebody's topic. */
#include "index/lang.h"

#include "base/utf8.h"

static const struct lang languages[] = {
	{.id = 0, .name = "none"},
	{.id = 1,
	 .name = "english",
	 .stems = true,
	 .stop = "a about above after again against all am an and any are aren as at be because been before being below between "
		 "both but by "
		 "can cannot could couldn d did didn do does doesn doing don down during each few for from further had hadn has "
		 "hasn have "
		 "haven having he her here hers herself him himself his how i if in into is isn it its itself just ll m me more "
		 "most mustn "
		 "my myself no nor not now of off on once only or other our ours ourselves out over own re s same shan she should "
		 "shouldn so "
		 "some such t than that the their theirs them themselves then there these they this those through to too under "
		 "until up ve "
		 "very was wasn we were weren what when where which while who whom why will with won would wouldn you your yours "
		 "yourself "
		 "yourselves",
	 .months = {"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
		    "december"},
	 .times = "yesterday today tonight tomorrow ago last next week weeks weekend weekends month months year years january "
		  "february "
		  "march april june july august september october november december monday tuesday wednesday thursday friday "
		  "saturday "
		  "sunday recently since soon",
	 .when = "when|how long|what date|what day|what month|what year|which date|which day|which month|which year",
	 .told = "you|your|yours|yourself|the assistant|remind me|our previous|our last|our earlier|our conversation|"
		 "our conversations|our chat|our chats|our discussion|we talked|we discussed|we spoke",
	 .aside =
		 "can you|could you|would you|will you|do you|don't you|are you|you are|you're|should you|may you|if you|thank you|"
		 "you can|you could|you please|you know|you remember|you recall|you think|let you|tell you|told you|ask you|asked "
		 "you|"
		 "give you|gave you|show you|showed you|sent you|with you|mention to you|mentioned to you|said to you"},
	{.id = 2,
	 .name = "german",
	 .stems = true,
	 .stop = "aber alle allem allen aller alles als also am an ander andere anderem anderen anderer anderes auch auf aus bei "
		 "bin bis bist da "
		 "damit dann das dass dasselbe daß dazu dein deine deinem deinen deiner dem den denn der derer des dessen dich die "
		 "dies diese "
		 "diesem diesen dieser dieses dir doch dort du durch ein eine einem einen einer eines er es etwas euch euer eure "
		 "für gegen "
		 "gewesen hab habe haben hat hatte hatten hier hin hinter ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in indem "
		 "ins ist ja "
		 "jede jedem jeden jeder jedes jene jener jetzt kann kein keine keinem keinen keiner können könnte man manche mein "
		 "meine "
		 "meinem meinen meiner mich mir mit nach nicht nichts noch nun nur ob oder ohne sehr sein seine seinem seinen "
		 "seiner selbst "
		 "sich sie sind so solche soll sollte sondern sonst über um und uns unser unsere unter viel vom von vor während "
		 "war waren "
		 "warst was weil weiter welche welchem welchen welcher welches wenn wer werde werden wie wieder will wir wird "
		 "wirst wo wollen "
		 "wollte würde würden zu zum zur zwar zwischen wann warum wem wen",
	 .months = {"januar", "februar", "märz", "april", "mai", "juni", "juli", "august", "september", "oktober", "november",
		    "dezember"},
	 .times = "gestern heute morgen vorgestern übermorgen letzte letzten letzter letztes nächste nächsten nächster nächstes "
		  "woche wochen "
		  "wochenende monat monate monaten jahr jahre jahren januar februar märz april mai juni juli august september "
		  "oktober november "
		  "dezember montag dienstag mittwoch donnerstag freitag samstag sonntag neulich kürzlich seit bald",
	 .when = "wann|wie lange|welches datum|welcher tag|an welchem tag|in welchem monat|in welchem jahr|seit wann"},
	{.id = 3,
	 .name = "french",
	 .stems = true,
	 .stop = "à ai aie ait au aura aurait aux avaient avait avec avez avoir avons c ce ceci cela ces cet cette ceux ci comme d "
		 "dans de des "
		 "du elle elles en es est et étaient était étant été être eu eux fut il ils j je l la le les leur leurs lui m ma "
		 "mais me même "
		 "mes moi mon n ne ni nos notre nous on ont ou où par pas pour qu quand que quel quelle quelles quels qui quoi s "
		 "sa sans se "
		 "sera serait ses si soit sommes son sont suis sur t ta te tes toi ton tu un une vos votre vous y",
	 .months = {"janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
		    "décembre"},
	 .times = "hier demain aujourd semaine semaines mois année années an ans dernier dernière prochain prochaine janvier "
		  "février mars avril "
		  "mai juin juillet août septembre octobre novembre décembre lundi mardi mercredi jeudi vendredi samedi dimanche "
		  "récemment "
		  "depuis bientôt",
	 .when = "quand|depuis quand|combien de temps|quelle date|quel jour|quel mois|quelle année|à quelle date"},
	{.id = 4,
	 .name = "spanish",
	 .stems = true,
	 .stop = "a al algo algunas algunos ante antes aquel aquella como con contra cual cuales cuando de del desde donde durante "
		 "e el él ella "
		 "ellas ellos en entre era eran eres es esa esas ese eso esos esta está estaba estamos están estar estas este esto "
		 "estos estoy "
		 "fue fueron fui ha había han has hasta hay he la las le les lo los más me mi mí mis mucho muy nada ni no nos "
		 "nosotros nuestra "
		 "nuestro o os otra otras otro otros para pero poco por porque que qué quien quién se sea ser si sí sido sin sobre "
		 "sois somos "
		 "son soy su sus también tanto te tenía ti tiene tienen todo todos tu tú tus un una uno unos y ya yo cómo cuándo "
		 "dónde cuál",
	 .months = {"enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre", "noviembre",
		    "diciembre"},
	 .times = "ayer hoy mañana anteayer semana semanas mes meses año años pasado pasada próximo próxima enero febrero marzo "
		  "abril mayo junio "
		  "julio agosto septiembre octubre noviembre diciembre lunes martes miércoles jueves viernes sábado domingo "
		  "recientemente "
		  "desde pronto",
	 .when = "cuándo|cuando|cuánto tiempo|qué fecha|qué día|qué mes|qué año|en qué fecha|en qué año|desde cuándo"},
	{.id = 5,
	 .name = "italian",
	 .stems = true,
	 .stop = "a ad agli ai al alla alle allo anche avere aveva c che chi ci come con contro cui d da dagli dai dal dalla dalle "
		 "dallo degli dei "
		 "del della delle dello di dove e è ebbe ed era erano essere fu gli ha hanno ho i il in io l la le lei li lo loro "
		 "lui ma me mi "
		 "mia mie miei mio ne negli nei nel nella nelle nello noi non nostra nostro o per perché più quale quando quanto "
		 "quella quelle "
		 "quelli quello questa queste questi questo sarà se sei si sia siamo siete sono sta sua sue sugli sui sul sulla "
		 "sulle suo suoi "
		 "ti tra tu tua tue tuo tuoi tutti tutto un una uno vi voi vostra vostro",
	 .months = {"gennaio", "febbraio", "marzo", "aprile", "maggio", "giugno", "luglio", "agosto", "settembre", "ottobre",
		    "novembre", "dicembre"},
	 .times = "ieri oggi domani settimana settimane mese mesi anno anni scorso scorsa prossimo prossima gennaio febbraio marzo "
		  "aprile maggio "
		  "giugno luglio agosto settembre ottobre novembre dicembre lunedì martedì mercoledì giovedì venerdì sabato "
		  "domenica fa "
		  "recentemente presto",
	 .when = "quando|da quando|quanto tempo|per quanto tempo|che data|che giorno|quale giorno|in che anno|in quale anno|in che "
		 "mese"},
	{.id = 6,
	 .name = "portuguese",
	 .stems = true,
	 .stop = "a à ao aos aquela aquele aquilo as às até com como da das de dela dele deles depois do dos e é ela elas ele eles "
		 "em entre era "
		 "eram essa esse esta está estava este estes estou eu foi foram há isso isto já lhe lhes mais mas me mesmo meu "
		 "meus minha minhas "
		 "muito na nas nem no nos nós nossa nosso não num numa o os ou para pela pelas pelo pelos por qual quando que quem "
		 "são se seja "
		 "sem ser será seu seus só sua suas também te tem tenho ter teu tinha tu tua um uma você vocês vos onde",
	 .months = {"janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro", "novembro",
		    "dezembro"},
	 .times = "ontem hoje amanhã anteontem semana semanas mês meses ano anos passado passada próximo próxima janeiro fevereiro "
		  "março abril "
		  "maio junho julho agosto setembro outubro novembro dezembro segunda terça quarta quinta sexta sábado domingo "
		  "recentemente "
		  "desde breve",
	 .when = "quando|desde quando|quanto tempo|que data|que dia|qual dia|que mês|que ano|em que ano|em que dia"},
	{.id = 7,
	 .name = "dutch",
	 .stems = true,
	 .stop = "aan al alles als altijd andere ben bij daar dan dat de der deze die dit doch doen door dus een eens en er ge "
		 "geen geweest haar had "
		 "heb hebben heeft hem het hier hij hoe hun iemand iets ik in is ja je kan kon kunnen maar me meer men met mij "
		 "mijn moet na naar "
		 "niet niets nog nu of om omdat onder ons ook op over reeds te tegen toch toen tot u uit uw van veel voor want "
		 "waren was wat "
		 "werd wezen wie wil worden wordt zal ze zelf zich zij zijn zo zonder zou waar wanneer",
	 .months = {"januari", "februari", "maart", "april", "mei", "juni", "juli", "augustus", "september", "oktober", "november",
		    "december"},
	 .times = "gisteren vandaag morgen eergisteren overmorgen week weken weekend maand maanden jaar jaren vorige vorig "
		  "volgende volgend geleden "
		  "januari februari maart april mei juni juli augustus september oktober november december maandag dinsdag "
		  "woensdag donderdag "
		  "vrijdag zaterdag zondag onlangs sinds binnenkort",
	 .when = "wanneer|hoe lang|hoelang|welke datum|welke dag|welke maand|welk jaar|in welk jaar|op welke dag|sinds wanneer"},
	{.id = 8,
	 .name = "swedish",
	 .stems = true,
	 .stop = "alla allt att av blev bli blir blivit de dem den denna deras dess dessa det detta dig din dina ditt du där då "
		 "efter ej eller en er "
		 "era ert ett från för ha hade han hans har henne hennes hon honom hur här i icke ingen inom inte jag ju kan kunde "
		 "man med mellan "
		 "men mig min mina mitt mot mycket ni nu när någon något några och om oss på samma sedan sig sin sina sitt själv "
		 "skulle som så "
		 "till under upp ut utan vad var vara varför varit varje vars vem vi vid vilka vilken vilket vår våra vårt än är "
		 "åt över ska",
	 .months = {"januari", "februari", "mars", "april", "maj", "juni", "juli", "augusti", "september", "oktober", "november",
		    "december"},
	 .times =
		 "igår idag imorgon går morgon vecka veckor helg helgen månad månader år förra nästa sedan januari februari mars "
		 "april maj juni "
		 "juli augusti september oktober november december måndag tisdag onsdag torsdag fredag lördag söndag nyligen snart",
	 .when = "när|hur länge|vilket datum|vilken dag|vilken månad|vilket år|sedan när"},
	{.id = 9,
	 .name = "norwegian",
	 .stems = true,
	 .stop = "alle at av bare begge ble blei bli blir både da de deg dem den denne der dere deres det dette di din disse ditt "
		 "du eg ein eit "
		 "eller elles en enn er et ett etter for fordi fra før ha hadde han hans har hennes her hjå ho hun hva hvem hver "
		 "hvilken hvis "
		 "hvor hvordan hvorfor i ikke ikkje ingen inn ja jeg kan kom kun kunne man med meg meget mellom men mi min mitt "
		 "mot mye nå når "
		 "ned no noe noen og også om opp oss over på samme seg selv si sin sitt sjøl skal skulle slik so som så til um "
		 "under upp ut uten "
		 "var ved vil ville vi vår være vært",
	 .months = {"januar", "februar", "mars", "april", "mai", "juni", "juli", "august", "september", "oktober", "november",
		    "desember"},
	 .times = "går igår dag idag morgen uke uker helg helgen måned måneder år forrige neste siden januar februar mars april "
		  "mai juni juli "
		  "august september oktober november desember mandag tirsdag onsdag torsdag fredag lørdag søndag nylig snart",
	 .when = "når|hvor lenge|hvilken dato|hvilken dag|hvilken måned|hvilket år|siden når"},
	{.id = 10,
	 .name = "danish",
	 .stems = true,
	 .stop = "ad af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din dine disse dog du "
		 "efter eller en end er "
		 "et for fra ham han hans har havde have hende hendes her hos hun hvad hvem hvis hvor hvordan hvorfor hvornår i "
		 "ikke ind ja jeg jer "
		 "jo kan kunne man mange med meget men mig min mine mit mod ned noget nogle nu når og også om op os over på selv "
		 "sig sin sine sit "
		 "skal skulle som sådan thi til ud under var vi vil ville vor være været",
	 .months = {"januar", "februar", "marts", "april", "maj", "juni", "juli", "august", "september", "oktober", "november",
		    "december"},
	 .times = "går igår dag idag morgen uge uger weekend måned måneder år sidste næste siden januar februar marts april maj "
		  "juni juli august "
		  "september oktober november december mandag tirsdag onsdag torsdag fredag lørdag søndag nylig snart",
	 .when = "hvornår|hvor længe|hvilken dato|hvilken dag|hvilken måned|hvilket år|siden hvornår"},
	{.id = 11,
	 .name = "finnish",
	 .stems = true,
	 .stop = "ei eikä eivät emme en et ette että he heidän heille heitä hän hänelle hänen hänet häntä ja jos joka jonka jota "
		 "jossa jotka kanssa "
		 "keiden ken kenen ketkä ketä koska kuin kuka kun me meidän meille meitä mikä mikäli minkä minulle minun minut "
		 "minä mitkä mitä "
		 "mukaan mutta myös ne niiden niin niitä noin nuo nyt näiden näitä nämä olemme olen olet olette oli olimme olin "
		 "olisi olit olivat "
		 "olla on ovat poikki se sekä sen siinä siitä sillä sinulle sinun sinut sinä sitä tai te teidän teille teitä tuo "
		 "tuon tämä tämän "
		 "tätä vaan vai vaikka joiden jolla missä miten miksi",
	 .months = {"tammikuu", "helmikuu", "maaliskuu", "huhtikuu", "toukokuu", "kesäkuu", "heinäkuu", "elokuu", "syyskuu",
		    "lokakuu", "marraskuu", "joulukuu"},
	 .times = "eilen tänään huomenna viikko viikolla viikonloppu viikonloppuna kuukausi kuukautta vuosi vuotta vuonna viime "
		  "ensi sitten "
		  "tammikuu helmikuu maaliskuu huhtikuu toukokuu kesäkuu heinäkuu elokuu syyskuu lokakuu marraskuu joulukuu "
		  "tammikuussa "
		  "helmikuussa maaliskuussa huhtikuussa toukokuussa kesäkuussa heinäkuussa elokuussa syyskuussa lokakuussa "
		  "marraskuussa "
		  "joulukuussa maanantai tiistai keskiviikko torstai perjantai lauantai sunnuntai maanantaina tiistaina "
		  "keskiviikkona torstaina "
		  "perjantaina lauantaina sunnuntaina äskettäin pian",
	 .when = "milloin|koska|kuinka kauan|miten kauan|minä päivänä|minä vuonna|mikä päivä|missä kuussa"},
	{.id = 12,
	 .name = "russian",
	 .stems = true,
	 .stop = "а без более больше будет будто бы был была были было быть в вам вас ваш вдруг ведь во вот впрочем все всегда "
		 "всего всех всю вы где "
		 "да даже для до другой его ее ей ему если есть еще ж же за здесь и из или им иногда их к как какая какой когда "
		 "кто куда ли лучше "
		 "между меня мне много может можно мой моя мы на над надо наконец нас не него нее ней нельзя нет ни нибудь никогда "
		 "ним них ничего "
		 "но ну о об от перед по под после потом потому почти при про раз разве с сам свою себе себя со так такой там тебя "
		 "тем теперь "
		 "то тогда того тоже только том тот ты у уж уже хоть чего чем через что чтоб чтобы чуть эти этого этой этом этот "
		 "эту это я почему",
	 .months = {"января", "февраля", "марта", "апреля", "мая", "июня", "июля", "августа", "сентября", "октября", "ноября",
		    "декабря"},
	 .times = "вчера сегодня завтра позавчера послезавтра неделя недели неделю неделе выходные месяц месяца месяцев год года "
		  "лет году назад "
		  "прошлой прошлом прошлый прошлую следующий следующей следующем января февраля марта апреля мая июня июля августа "
		  "сентября "
		  "октября ноября декабря понедельник вторник среду четверг пятницу субботу воскресенье недавно скоро",
	 .when = "когда|как долго|сколько времени|какого числа|в какой день|какой день|в каком месяце|в каком году|с какого "
		 "времени"},
	/* Snowball has stemmers for these; they have no lists of their own. */
	{.id = 13, .name = "arabic", .stems = true},
	{.id = 14, .name = "armenian", .stems = true},
	{.id = 15, .name = "basque", .stems = true},
	{.id = 16, .name = "catalan", .stems = true},
	{.id = 17, .name = "greek", .stems = true},
	{.id = 18, .name = "hindi", .stems = true},
	{.id = 19, .name = "hungarian", .stems = true},
	{.id = 20, .name = "indonesian", .stems = true},
	{.id = 21, .name = "irish", .stems = true},
	{.id = 22, .name = "lithuanian", .stems = true},
	{.id = 23, .name = "nepali", .stems = true},
	{.id = 24, .name = "romanian", .stems = true},
	{.id = 25, .name = "serbian", .stems = true},
	{.id = 26, .name = "tamil", .stems = true},
	{.id = 27, .name = "turkish", .stems = true},
	{.id = 28, .name = "yiddish", .stems = true},
};
#define LANGUAGES (sizeof languages / sizeof languages[0])
_Static_assert(LANGUAGES <= LANG_MAX, "ids of languages must fit a 32-bit mask");

const struct lang *lang_table(size_t *n)
{
	*n = LANGUAGES;
	return languages;
}

const struct lang *lang_by_id(uint8_t id)
{
	return id < LANGUAGES ? &languages[id] : NULL;
}

const struct lang *lang_find(struct str name)
{
	for (size_t i = 0; i < LANGUAGES; i++)
		if (str_ieq(str_c(languages[i].name), name))
			return &languages[i];
	return NULL;
}

const char *lang_name(const struct lang *l)
{
	return l->name;
}

const char *lang_all(void)
{
	return "none, english, german, french, spanish, italian, portuguese, dutch, swedish, norwegian, danish, finnish, russian, "
	       "arabic, "
	       "armenian, basque, catalan, greek, hindi, hungarian, indonesian, irish, lithuanian, nepali, romanian, serbian, "
	       "tamil, "
	       "turkish, yiddish";
}
